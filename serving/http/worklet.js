// Runs in the audio thread: a queue of blocks; it counts how often it ran dry before the end was known.
class Player extends AudioWorkletProcessor {
  constructor(options) {
    super();
    this.blocks = []; this.place = 0; this.held = 0; this.begun = false; this.ended = false; this.dry = false;
    this.underruns = 0; this.count = 0; this.wait = options.processorOptions.wait;
    this.port.onmessage = ({ data }) => {
      if (data === "end") { this.ended = true; return; }
      this.blocks.push(data); this.held += data.length; this.dry = false;
    };
  }
  process(_, [[out]]) {
    if (!this.begun && (this.held >= this.wait || this.ended)) this.begun = true;
    let done = 0;
    while (this.begun && done < out.length && this.blocks.length) {
      const block = this.blocks[0], some = Math.min(out.length - done, block.length - this.place);
      out.set(block.subarray(this.place, this.place + some), done);
      done += some; this.place += some; this.held -= some;
      if (this.place === block.length) { this.blocks.shift(); this.place = 0; }
    }
    if (this.begun && done < out.length && !this.ended && !this.dry) { this.dry = true; this.underruns += 1; }
    const over = this.ended && !this.blocks.length;
    if (over || ++this.count % 20 === 0) this.port.postMessage({ underruns: this.underruns, held: this.held, over });
    return !over;
  }
}
registerProcessor("player", Player);
