// The demo page: a recording is sent over the WebSocket in pieces, or a text in a request, and the sound that comes back
// is played by an AudioWorklet.
"use strict";

const PREBUFFER = 0.04; // seconds in hand before playing begins
const PIECE = 0.1; // seconds of input in one message
const SHOWN = 10; // seconds of sound that the picture has room for where nobody knows how many come
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

function credentials() {
  return key() ? { Authorization: `Bearer ${key()}` } : {};
}

async function loadVoices() {
  const answer = await fetch("/v1/audio/voices", { headers: credentials() });
  if (answer.status === 401) byId("guarded").hidden = false;
  if (!answer.ok) return fail((await answer.json()).error.message);
  fail("");
  voices = (await answer.json()).voices.filter((one) => !one.alias_of);
  byId("voice").replaceChildren(...voices.map((voice) => new Option(voice.id)));
  byId("voice").onchange = showVoice;
  showVoice();
  if (!voices.length) fail("No voice is installed.");
}

function voice() {
  return voices.find((one) => one.id === byId("voice").value);
}

// What the chosen voice takes: a text, where it reads, and its speakers.
function showVoice() {
  const names = voice() ? voice().speakers : [];
  byId("reading").hidden = !voice()?.reads;
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

// Sound that comes from the server, played while it comes: what it is made of is the business of those below.
class Playing {
  constructor(settings) {
    this.settings = settings; this.rate = settings.rate; this.received = 0; this.first = null;
  }

  async open() {
    this.context = new AudioContext({ sampleRate: this.rate });
    await this.context.audioWorklet.addModule("/worklet.js");
    this.player = new AudioWorkletNode(this.context, "player", {
      numberOfInputs: 0, outputChannelCount: [1], processorOptions: { wait: PREBUFFER * this.rate },
    });
    this.player.port.onmessage = ({ data }) => this.heard(data);
    this.player.connect(this.context.destination);
    await this.context.resume();
  }

  sound(block) {
    if (this.first === null) {
      this.first = performance.now() - this.began;
      byId("first").textContent = `${this.first.toFixed(1)} ms`;
      byId("underruns").textContent = "0";
    }
    this.draw(block);
    this.received += block.length;
    byId("received").textContent = `${(this.received / this.rate).toFixed(2)} s${this.total ? ` of ${(this.total / this.rate).toFixed(2)} s` : ""}`;
    this.player.port.postMessage(block.slice());
  }

  // How far it had come, in words.
  get place() {
    return this.first === null ? "before the first sound" : `after ${(this.received / this.rate).toFixed(2)} s of sound`;
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
    const canvas = byId("wave"), pen = canvas.getContext("2d"), total = this.total || SHOWN * this.rate;
    pen.fillStyle = "#36c";
    for (let i = 0; i < block.length; i += 64) {
      const at = (this.received + i) % total;
      if (at < 64) pen.clearRect(0, 0, canvas.width, canvas.height);
      const x = (at / total) * canvas.width, y = Math.abs(block[i]) * canvas.height;
      pen.fillRect(x, (canvas.height - y) / 2, 1, Math.max(1, y));
    }
  }

  stop() {
    // What has come is played to its end unless it is stopped by hand.
    if (!this.over) this.leave();
    if (this.over || this.stopped) {
      this.context?.close().catch(() => {});
      ready();
    }
  }
}

// A recording, made again by a voice, over the WebSocket.
class Vocoding extends Playing {
  constructor(audio, settings) {
    super(settings);
    this.audio = audio; this.total = audio.length;
    this.next = 0; this.credit = FIRST_CREDIT; // samples sent; bytes that may be sent
  }

  async start() {
    await this.open();
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    // A WebSocket of a browser sends no headers of ours, but it may offer protocols.
    const protocols = key() ? ["seqgen", `seqgen-key.${key()}`] : [];
    this.socket = new WebSocket(`${scheme}//${location.host}/v1/stream?voice=${encodeURIComponent(this.settings.voice)}`, protocols);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.begin();
    this.socket.onmessage = ({ data }) => (typeof data === "string" ? this.told(JSON.parse(data)) : this.sound(new Float32Array(data, 4)));
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
      const why = code === 1006 ? "the server refused or went away; try again in a moment" : reason || "no reason was given";
      this.broken(`The connection ended ${this.place} (code ${code}): ${why}.`);
    }
    this.stop();
  }

  leave() {
    if (this.socket?.readyState <= 1) this.socket.close();
  }
}

// A text, spoken by a voice, in one request.
class Speaking extends Playing {
  constructor(settings) {
    super(settings);
    this.leaving = new AbortController(); // from the beginning: it may be stopped while the player is made
  }

  async start() {
    await this.open();
    const { voice, text, speed } = this.settings;
    this.began = performance.now();
    try {
      const answer = await fetch("/v1/audio/speech", {
        method: "POST", signal: this.leaving.signal, headers: { "Content-Type": "application/json", ...credentials() },
        body: JSON.stringify({ model: voice, voice, input: text, speed, response_format: "f32" }),
      });
      if (!answer.ok) return this.broken((await answer.json()).error.message);
      byId("mark").textContent = answer.headers.get("x-synthetic");
      await this.take(answer.body.getReader());
      this.player.port.postMessage("end");
    } catch (error) {
      if (!this.stopped) this.broken(`The sound ended ${this.place}: ${error.message}.`);
    }
  }

  // Bytes come cut anywhere, samples have four of them.
  async take(reader) {
    let rest = new Uint8Array(0);
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const bytes = new Uint8Array(rest.length + value.length);
      bytes.set(rest);
      bytes.set(value, rest.length);
      const whole = bytes.length - (bytes.length % 4);
      rest = bytes.slice(whole);
      if (whole) this.sound(new Float32Array(bytes.buffer, 0, whole / 4));
    }
  }

  leave() {
    this.leaving.abort();
  }
}

// The buttons, while something sounds and when nothing does.
function busy() {
  byId("play").disabled = byId("say").disabled = true;
  byId("stop").disabled = false;
}

function ready() {
  byId("play").disabled = recording === null;
  byId("say").disabled = false;
  byId("stop").disabled = true;
}

async function sounding(playing) {
  current = playing;
  busy();
  try {
    await playing.start();
  } catch (error) {
    fail(String(error.message || error));
    ready();
  }
}

function say() {
  fail("");
  const chosen = voice();
  if (!chosen) return;
  sounding(new Speaking({
    voice: chosen.id, rate: chosen.sample_rate, text: byId("text").value, speed: Number(byId("speed").value),
  }));
}

async function play() {
  fail("");
  const chosen = voice();
  if (!chosen || !recording) return;
  try {
    const audio = await decode(recording.slice(0), chosen.sample_rate);
    await sounding(new Vocoding(audio, {
      voice: chosen.id, rate: chosen.sample_rate, seed: Number(byId("seed").value),
      temperature: Number(byId("temperature").value), speaker: byId("speaker").value,
    }));
  } catch (error) {
    fail(String(error.message || error));
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
byId("say").onclick = say;
byId("record").onclick = record;
byId("stop").onclick = () => { current.stopped = true; current.stop(); };
loadVoices().catch((error) => fail(String(error)));
