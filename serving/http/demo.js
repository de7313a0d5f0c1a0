// The demo page: a recording is sent over the WebSocket in pieces, and what comes back is played by an AudioWorklet.
"use strict";

const PREBUFFER = 0.04; // seconds in hand before playing begins
const PIECE = 0.1; // seconds of input in one message
const FIRST_CREDIT = 65536; // bytes of input that the server takes before it says how many
const byId = (id) => document.getElementById(id);

let voices = [];
let recording = null; // Float32Array at the voice's rate, or an AudioBuffer
let current = null;

function fail(message) {
  byId("error").textContent = message;
}

// Kept in its field and nowhere else.
function key() {
  return byId("key").value.trim();
}

async function loadVoices() {
  const answer = await fetch("/v1/audio/voices", key() ? { headers: { Authorization: `Bearer ${key()}` } } : {});
  if (answer.status === 401) byId("guarded").hidden = false;
  if (!answer.ok) return fail((await answer.json()).error.message);
  fail("");
  voices = (await answer.json()).voices;
  byId("voice").replaceChildren(...voices.map((voice) => new Option(voice.id)));
  byId("voice").onchange = showSpeakers;
  showSpeakers();
  if (!voices.length) fail("No voice is installed.");
}

function voice() {
  return voices.find((one) => one.id === byId("voice").value);
}

function showSpeakers() {
  const names = voice() ? voice().speakers : [];
  byId("speaker").replaceChildren(...names.map((name) => new Option(name)));
  byId("speaker").disabled = names.length === 0;
}

// Any recording the browser can read, mixed to one channel at the voice's rate.
async function decode(bytes, rate) {
  const context = new OfflineAudioContext(1, 1, rate);
  const buffer = await context.decodeAudioData(bytes);
  const mixed = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const data = buffer.getChannelData(channel);
    for (let i = 0; i < data.length; i++) mixed[i] += data[i] / buffer.numberOfChannels;
  }
  return mixed;
}

class Playing {
  constructor(audio, settings) {
    this.audio = audio; this.settings = settings;
    this.rate = settings.rate; this.received = 0; this.first = null;
    this.next = 0; this.credit = FIRST_CREDIT; // samples sent; bytes that may be sent
  }

  async start() {
    this.context = new AudioContext({ sampleRate: this.rate });
    await this.context.audioWorklet.addModule("/worklet.js");
    this.player = new AudioWorkletNode(this.context, "player", {
      numberOfInputs: 0, outputChannelCount: [1], processorOptions: { wait: PREBUFFER * this.rate },
    });
    this.player.port.onmessage = ({ data }) => this.heard(data);
    this.player.connect(this.context.destination);
    await this.context.resume();
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    // A WebSocket of a browser sends no headers of ours, but it may offer protocols.
    const protocols = key() ? ["seqgen", `seqgen-key.${key()}`] : [];
    this.socket = new WebSocket(`${scheme}//${location.host}/v1/stream?voice=${encodeURIComponent(this.settings.voice)}`, protocols);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.begin();
    this.socket.onmessage = ({ data }) => (typeof data === "string" ? this.told(JSON.parse(data)) : this.sound(data));
    this.socket.onclose = ({ code, reason }) => this.closed(code, reason);
  }

  begin() {
    const { voice, seed, temperature, speaker } = this.settings;
    const init = { type: "init", voice, seed, temperature, input: "audio", rate: this.rate, encoding: "f32le", format: "f32", credit: true };
    this.socket.send(JSON.stringify(speaker ? { ...init, speaker } : init));
    this.began = performance.now();
    this.send();
  }

  // As much as the server takes now; the rest waits here, so that whatever is said beside it is heard at once.
  send() {
    const step = Math.round(PIECE * this.rate);
    while (this.next < this.audio.length) {
      const piece = this.audio.subarray(this.next, this.next + step);
      if (4 * (this.next + piece.length) > this.credit) return;
      const message = new ArrayBuffer(4 + 4 * piece.length); // context 0, then samples
      new Float32Array(message, 4).set(piece);
      this.socket.send(message);
      this.next += piece.length;
    }
    if (!this.said) this.socket.send(JSON.stringify({ type: "close" }));
    this.said = true;
  }

  sound(data) {
    const block = new Float32Array(data, 4);
    if (this.first === null) {
      this.first = performance.now() - this.began;
      byId("first").textContent = `${this.first.toFixed(1)} ms`;
      byId("underruns").textContent = "0";
    }
    this.draw(block);
    this.received += block.length;
    byId("received").textContent = `${(this.received / this.rate).toFixed(2)} s of ${(this.audio.length / this.rate).toFixed(2)} s`;
    this.player.port.postMessage(block.slice());
  }

  told(message) {
    if (message.type === "ready") byId("mark").textContent = message.synthetic;
    if (message.type === "ready" || message.type === "credit") {
      this.credit = message.type === "ready" ? message.credit : message.bytes;
      this.send();
    }
    if (message.type === "closed") this.whole = true;
    if (message.type === "error") this.broken(message.message);
    if (message.type === "flushed") this.player.port.postMessage("end");
  }

  // Whatever ends the sound before its end is told, with its code and reason; what has come is played all the same.
  closed(code, reason) {
    if (!this.whole && !this.stopped && !this.failed) {
      const when = this.first === null ? "before the first sound" : `after ${(this.received / this.rate).toFixed(2)} s of sound`;
      const why = code === 1006 ? "the server refused or went away; try again in a moment" : reason || "no reason was given";
      this.broken(`The connection ended ${when} (code ${code}): ${why}.`);
    }
    this.stop();
  }

  broken(message) {
    this.failed = true;
    fail(message);
    this.player.port.postMessage("end");
  }

  heard({ underruns, held, over }) {
    byId("underruns").textContent = String(underruns);
    byId("lead").textContent = `${(held / this.rate).toFixed(2)} s`;
    if (over) { this.over = true; this.stop(); }
  }

  draw(block) {
    const canvas = byId("wave"), pen = canvas.getContext("2d");
    if (this.received === 0) pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.fillStyle = "#36c";
    for (let i = 0; i < block.length; i += 64) {
      const x = ((this.received + i) / this.audio.length) * canvas.width, y = Math.abs(block[i]) * canvas.height;
      pen.fillRect(x, (canvas.height - y) / 2, 1, Math.max(1, y));
    }
  }

  stop() {
    // What has come is played to its end unless it is stopped by hand.
    if (this.socket?.readyState <= 1 && !this.over) this.socket.close();
    if (this.over || this.stopped) {
      this.context?.close().catch(() => {});
      byId("play").disabled = false;
      byId("stop").disabled = true;
    }
  }
}

async function play() {
  fail("");
  const chosen = voice();
  if (!chosen || !recording) return;
  try {
    const audio = await decode(recording.slice(0), chosen.sample_rate);
    byId("play").disabled = true;
    byId("stop").disabled = false;
    current = new Playing(audio, {
      voice: chosen.id, rate: chosen.sample_rate, seed: Number(byId("seed").value),
      temperature: Number(byId("temperature").value), speaker: byId("speaker").value,
    });
    await current.start();
  } catch (error) {
    fail(String(error.message || error));
    byId("play").disabled = false;
  }
}

async function record() {
  const button = byId("record");
  if (button.recorder) return button.recorder.stop();
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const recorder = new MediaRecorder(stream), pieces = [];
    recorder.ondataavailable = ({ data }) => pieces.push(data);
    recorder.onstop = async () => {
      stream.getTracks().forEach((track) => track.stop());
      recording = await new Blob(pieces).arrayBuffer();
      button.textContent = "Record";
      button.recorder = null;
      byId("play").disabled = false;
    };
    recorder.start();
    button.recorder = recorder;
    button.textContent = "Stop recording";
  } catch (error) {
    fail(`The microphone cannot be used: ${error.message}`);
  }
}

byId("file").onchange = async ({ target }) => {
  recording = target.files.length ? await target.files[0].arrayBuffer() : null;
  byId("play").disabled = recording === null;
};
byId("guarded").onsubmit = (event) => {
  event.preventDefault();
  loadVoices().catch((error) => fail(String(error)));
};
byId("play").onclick = play;
byId("record").onclick = record;
byId("stop").onclick = () => { current.stopped = true; current.stop(); };
loadVoices().catch((error) => fail(String(error)));
