"use strict";
// Hands the samples of the microphone to the page, an eighth of a second at a time.
class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.kept = [];
    this.length = 0;
  }

  process([input]) {
    if (!input.length) return true;
    this.kept.push(input[0].slice());
    this.length += input[0].length;
    if (this.length >= sampleRate / 8) {
      const chunk = new Float32Array(this.length);
      let place = 0;
      for (const part of this.kept) {
        chunk.set(part, place);
        place += part.length;
      }
      this.port.postMessage(chunk);
      this.kept = [];
      this.length = 0;
    }
    return true;
  }
}
registerProcessor("recorder", Recorder);
