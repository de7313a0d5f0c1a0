// Runs the demo page's script without a browser: what the page touches is a stand-in, and a story tells what happens.
// Standard input: {script, samples, rate, events}, or {script, rate, speech} for a text that is spoken, ``speech`` being
// what the server answers: {status, pieces (sizes in bytes), breaks, stop}. Standard output: {sent, error, ended, heard}.
"use strict";

const vm = require("node:vm");
const given = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const elements = {};
const element = () => ({ textContent: "", value: "1", options: [], replaceChildren() {}, getContext: () => ({ clearRect() {}, fillRect() {} }) });
const posted = [];
const sockets = [];

class Socket {
  constructor() { this.sent = []; this.readyState = 1; sockets.push(this); }
  send(message) { this.sent.push(typeof message === "string" ? message : message.byteLength - 4); }
  close() { this.readyState = 3; }
}

const asked = [];

// The answer to a text: its pieces, then its end, or none.
function speech(request) {
  asked.push({ ...request, signal: undefined });
  const { status = 200, pieces = [], breaks } = given.speech;
  const queue = [...pieces];
  const read = async () => {
    if (request.signal.aborted) throw new Error("aborted");
    if (queue.length) return { done: false, value: new Uint8Array(queue.shift()) };
    if (breaks) throw new Error(breaks);
    return { done: true };
  };
  return { ok: status === 200, status, headers: new Map([["x-synthetic", "by a machine"]]),
           json: async () => ({ error: { message: "no slot" } }), body: { getReader: () => ({ read }) } };
}

const page = vm.createContext({
  document: { getElementById: (id) => (elements[id] ??= element()) },
  fetch: async (path, asked) => path === "/v1/audio/speech" ? speech(asked) : ({ ok: true, status: 200, json: async () => ({ voices: [{ id: "v", sample_rate: given.rate, speakers: [] }] }) }),
  Option: class {}, location: { protocol: "http:", host: "here" }, performance, WebSocket: Socket, JSON, console,
  AbortController, Float32Array, Uint8Array,
  AudioContext: class { constructor() { this.audioWorklet = { addModule: async () => {} }; } async resume() {} async close() {} },
  AudioWorkletNode: class { constructor() { this.port = { postMessage: (message) => posted.push(message) }; } connect() {} },
});

(async () => {
  vm.runInContext(given.script, page);
  if (given.speech) {
    const settings = { voice: "v", rate: given.rate, text: "A tea.", speed: 2 };
    const speaking = vm.runInContext("(settings) => new Speaking(settings)", page)(settings);
    const started = speaking.start();
    if (given.speech.stop) { speaking.stopped = true; speaking.stop(); }
    await started;
    return tell(asked);
  }
  const settings = { voice: "v", rate: given.rate, seed: 0, temperature: 1, speaker: "" };
  const playing = vm.runInContext("(audio, settings) => new Vocoding(audio, settings)", page)(new Float32Array(given.samples), settings);
  await playing.start();
  const [socket] = sockets;
  socket.onopen();
  for (const event of given.events) {
    if (event.close) socket.onclose(event.close);
    else if (event.stop) { playing.stopped = true; playing.stop(); }
    else socket.onmessage({ data: event.sound ? new ArrayBuffer(4 + 4 * event.sound) : JSON.stringify(event) });
  }
  tell(socket.sent);
})();

function tell(sent) {
  const ended = posted.filter((message) => message === "end").length;
  const heard = posted.filter((message) => message !== "end").map((block) => block.length);
  const mark = elements.mark?.textContent;
  process.stdout.write(JSON.stringify({ sent, error: elements.error?.textContent ?? "", ended, heard, mark }));
}
