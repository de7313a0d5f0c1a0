// Runs the demo page's script without a browser: what the page touches is a stand-in, and a story tells what happens.
// Standard input: {script, samples, rate, events}; standard output: {sent, error, ended}.
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

const page = vm.createContext({
  document: { getElementById: (id) => (elements[id] ??= element()) },
  fetch: async () => ({ ok: true, status: 200, json: async () => ({ voices: [{ id: "v", sample_rate: given.rate, speakers: [] }] }) }),
  Option: class {}, location: { protocol: "http:", host: "here" }, performance, WebSocket: Socket, JSON, console,
  AudioContext: class { constructor() { this.audioWorklet = { addModule: async () => {} }; } async resume() {} async close() {} },
  AudioWorkletNode: class { constructor() { this.port = { postMessage: (message) => posted.push(message) }; } connect() {} },
});

(async () => {
  vm.runInContext(given.script, page);
  const settings = { voice: "v", rate: given.rate, seed: 0, temperature: 1, speaker: "" };
  const playing = vm.runInContext("(audio, settings) => new Playing(audio, settings)", page)(new Float32Array(given.samples), settings);
  await playing.start();
  const [socket] = sockets;
  socket.onopen();
  for (const event of given.events) {
    if (event.close) socket.onclose(event.close);
    else if (event.stop) { playing.stopped = true; playing.stop(); }
    else socket.onmessage({ data: event.sound ? new ArrayBuffer(4 + 4 * event.sound) : JSON.stringify(event) });
  }
  const ended = posted.filter((message) => message === "end").length;
  process.stdout.write(JSON.stringify({ sent: socket.sent, error: elements.error?.textContent ?? "", ended }));
})();
