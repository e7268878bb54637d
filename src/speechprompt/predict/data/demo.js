"use strict";
const one = (selector) => document.querySelector(selector);
const status = one("#status"), result = one("#result"), audio = one("audio"), record = one("#record");
const SVG = "http://www.w3.org/2000/svg";
const LONGEST = 30; // seconds of a recording
const SHOWN = 5; // labels of a task
let latest = 0;

const tell = (text, wrong = false) => {
  status.textContent = text;
  status.classList.toggle("wrong", wrong);
};

const make = (name, text = "", of = document) => Object.assign(of.createElement(name), { textContent: text });

// Send a recording to this machine, and show what it answers.
async function answer(sound, name) {
  const number = ++latest;
  tell(`${name} …`);
  let found;
  try {
    const response = await fetch("/answer", { method: "POST", body: sound });
    found = await response.json();
  } catch {
    found = { error: "the demo does not answer; is it still running?" };
  }
  if (number !== latest) return; // another recording was given meanwhile
  if (found.error) {
    result.hidden = true;
    tell(`${name}: ${found.error}`, true);
    return;
  }
  if (audio.src) URL.revokeObjectURL(audio.src);
  audio.src = URL.createObjectURL(sound);
  one(".wave path").setAttribute("d", found.outline);
  const strip = one(".units");
  strip.replaceChildren(
    ...found.boxes.map(([left, width, colour, unit]) => {
      const box = document.createElementNS(SVG, "rect"), title = document.createElementNS(SVG, "title");
      title.textContent = `unit ${unit}`;
      for (const [key, value] of Object.entries({ x: left, width, height: 10, fill: colour })) box.setAttribute(key, value);
      box.append(title);
      return box;
    }),
  );
  one("#cursor").style.left = 0;
  one("#answers").replaceChildren(...found.answers.map(card));
  result.dataset.seconds = found.seconds;
  result.hidden = false;
  tell(`${name}: ${found.seconds.toFixed(2)} s of audio, ${found.boxes.length} units, answered in ${found.took.toFixed(2)} s`);
}

function card(answer) {
  const box = make("div");
  box.className = "answer";
  box.append(make("span", answer.task));
  if (answer.error) {
    box.append(make("p", answer.error));
    return box;
  }
  box.append(make("strong", answer.answer || "nothing"));
  for (const [slot, value] of answer.slots ?? []) box.append(make("p", `${slot}: ${value}`));
  const bars = make("div");
  bars.className = "bars";
  const shares = Object.entries(answer.probabilities ?? { probability: answer.probability });
  for (const [label, share] of shares.sort((a, b) => b[1] - a[1]).slice(0, SHOWN)) {
    const bar = make("i");
    bar.style.width = `${100 * share}%`;
    bars.append(make("span", label), bar, make("span", share < 0.0005 ? "<0.001" : share.toFixed(3)));
  }
  box.append(bars);
  return box;
}

const follow = () => {
  one("#cursor").style.left = `${Math.min((100 * audio.currentTime) / result.dataset.seconds, 100)}%`;
  if (!audio.paused) requestAnimationFrame(follow);
};
audio.addEventListener("play", follow);
audio.addEventListener("seeked", follow);

// A WAV file of 16 bits from samples between -1 and 1.
function wav(chunks, rate) {
  const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * length));
  const text = (place, letters) => [...letters].forEach((letter, i) => view.setUint8(place + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * length, true);
  let place = 44;
  for (const chunk of chunks) {
    for (const sample of chunk) {
      view.setInt16(place, Math.max(-1, Math.min(1, sample)) * 32767, true);
      place += 2;
    }
  }
  return new Blob([view.buffer], { type: "audio/wav" });
}

let stop = null;

async function start() {
  const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
  const context = new AudioContext(), chunks = [];
  await context.audioWorklet.addModule("/recorder.js");
  const recorder = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
  let seconds = 0;
  recorder.port.onmessage = ({ data }) => {
    chunks.push(data);
    seconds += data.length / context.sampleRate;
    tell(`recording, ${seconds.toFixed(1)} s`);
    if (seconds >= LONGEST) stop?.();
  };
  context.createMediaStreamSource(stream).connect(recorder);
  record.textContent = "Stop";
  record.setAttribute("aria-pressed", "true");
  stop = async () => {
    stop = null;
    stream.getTracks().forEach((track) => track.stop());
    await context.close();
    record.textContent = "Record";
    record.setAttribute("aria-pressed", "false");
    await answer(wav(chunks, context.sampleRate), "recording");
  };
}

record.addEventListener("click", () => {
  if (stop) stop();
  else start().catch((error) => tell(`no microphone: ${error.message}`, true));
});

const drop = one("#drop"), input = one("#drop input");
input.addEventListener("change", () => {
  if (input.files.length) answer(input.files[0], input.files[0].name);
  input.value = "";
});
for (const name of ["dragover", "dragleave", "drop"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files.length) answer(event.dataTransfer.files[0], event.dataTransfer.files[0].name);
  });
}

for (const button of document.querySelectorAll("#files button")) {
  button.addEventListener("click", async () => {
    const response = await fetch(`/recordings/${button.dataset.number}`);
    if (response.ok) answer(await response.blob(), `"${button.textContent}" of the test split`);
    else tell("this recording is not there any more", true);
  });
}
