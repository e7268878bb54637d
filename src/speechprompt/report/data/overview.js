"use strict";
document.documentElement.classList.add("js");
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const SEPARATOR = " | "; // between the label columns of an answer

// The table of tasks: a click on a title sorts by its column.
for (const button of all(".tasks th button")) {
  button.addEventListener("click", () => {
    const title = button.parentElement, table = title.closest("table");
    const column = [...title.parentElement.children].indexOf(title);
    const up = title.getAttribute("aria-sort") !== "ascending";
    all("th", table).forEach((one) => one.removeAttribute("aria-sort"));
    title.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => row.children[column].dataset.key;
    const order = (a, b) => key(a).localeCompare(key(b), undefined, { numeric: true });
    const rows = all("tbody tr", table).sort((a, b) => (up ? order(a, b) : order(b, a)));
    table.tBodies[0].append(...rows);
  });
}

// Sound: the cursor follows it, and a click into the outline plays from there.
for (const utterance of all(".utterance")) {
  const audio = utterance.querySelector("audio"), sound = utterance.querySelector(".sound");
  if (!audio || !sound) continue;
  const cursor = sound.querySelector(".cursor"), seconds = Number(audio.dataset.seconds);
  const follow = () => {
    cursor.style.left = `${Math.min((100 * audio.currentTime) / seconds, 100)}%`;
    if (!audio.paused) requestAnimationFrame(follow);
  };
  audio.addEventListener("play", () => {
    all("audio").forEach((other) => other !== audio && other.pause());
    sound.classList.add("playing");
    follow();
  });
  audio.addEventListener("seeked", follow);
  sound.addEventListener("click", (event) => {
    const box = sound.getBoundingClientRect();
    audio.currentTime = (seconds * (event.clientX - box.left)) / box.width;
    audio.play();
  });
}

// Filters: by class, speaker, and right or wrong; and by a cell of a confusion matrix.
for (const task of all(".task")) {
  const utterances = all(".utterance", task), selects = all(".filters select", task);
  const status = task.querySelector(".filters output"), reset = task.querySelector(".filters button");
  let cell = null;
  const parts = (text) => (Number(task.dataset.columns) > 1 ? text.split(SEPARATOR) : [text]);
  const matches = {
    label: (one, value) => one.dataset.reference === value || parts(one.dataset.reference).includes(value),
    speaker: (one, value) => one.dataset.speaker === value,
    right: (one, value) => one.dataset.right === value,
  };
  const inCell = (one) => {
    const { column, reference, answer, other } = cell.dataset;
    const of = (text) => (column === "" ? text : parts(text)[Number(column)]);
    const given = of(one.dataset.prediction);
    const known = all(`.matrix[data-column="${column}"] tbody th`, task).map((head) => head.textContent);
    return of(one.dataset.reference) === reference && (other ? !known.includes(given) : given === answer);
  };
  const update = () => {
    let shown = 0;
    for (const one of utterances) {
      const wanted = selects.every((s) => !s.value || matches[s.name](one, s.value));
      one.hidden = !(wanted && (!cell || inCell(one)));
      shown += one.hidden ? 0 : 1;
    }
    if (!status) return;
    const pair = cell ? `: ${cell.dataset.reference} answered as ${cell.dataset.answer}` : "";
    const more = cell ? `, of ${cell.dataset.n} in the split` : "";
    status.textContent = `${shown} of ${utterances.length} utterances${pair}${more}`;
  };
  const choose = (chosen) => {
    if (cell) cell.setAttribute("aria-pressed", "false");
    cell = chosen === cell ? null : chosen;
    if (cell) cell.setAttribute("aria-pressed", "true");
    update();
  };
  selects.forEach((select) => select.addEventListener("change", update));
  reset?.addEventListener("click", () => {
    selects.forEach((select) => (select.value = ""));
    choose(cell);
  });
  for (const one of utterances.length ? all(".matrix td[data-n]", task) : []) {
    one.tabIndex = 0;
    one.setAttribute("role", "button");
    const press = () => {
      choose(one);
      if (!cell) return;
      task.querySelector(".listen").open = true;
      task.querySelector(".filters").scrollIntoView({ block: "start" });
    };
    one.addEventListener("click", press);
    one.addEventListener("keydown", (event) => ["Enter", " "].includes(event.key) && (event.preventDefault(), press()));
  }
  update();
}

// Pictures are enlarged by a click; a link to a part that is folded unfolds it.
for (const image of all("figure img")) {
  image.addEventListener("click", () => image.closest("figure").classList.toggle("large"));
}
const unfold = () => {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === "DETAILS") target.open = true;
};
addEventListener("hashchange", unfold);
unfold();
