"""Vocodes a recording with a voice's ONNX graph, ten frames at a time; seqgen itself is not needed.

pip install numpy onnxruntime safetensors soundfile
python onnx_vocode.py VOICE IN.wav OUT.wav [SEED]
"""

import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
from safetensors.numpy import load_file


def log_mel(audio, spec):
    """Frames [ceil(N / hop), bands]: windows centred on the middle of each hop, zeros beyond both ends."""
    rate, n_fft, window, hop = (spec[name] for name in ("sample_rate", "n_fft", "window", "hop"))
    frames, pad = -(-len(audio) // hop), (window - hop) // 2
    padded = np.pad(audio.astype(np.float64), (pad, frames * hop - len(audio) + pad))
    cut = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    magnitude = np.abs(np.fft.rfft(cut * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)), n_fft))
    step = np.log(6.4) / 27  # Slaney's scale: linear below 1 kHz, 15 of its units there; logarithmic above
    ends = spec["fmin"], spec["fmax"] or rate / 2
    ends = [hz * 3 / 200 if hz < 1000 else 15 + np.log(hz / 1000) / step for hz in ends]
    mel = np.linspace(*ends, spec["n_mels"] + 2)
    edge = np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * step))
    hz = np.arange(n_fft // 2 + 1)[:, None] * rate / n_fft
    rising, falling = (hz - edge[:-2]) / np.diff(edge)[:-1], (edge[2:] - hz) / np.diff(edge)[1:]
    triangles = np.maximum(0, np.minimum(rising, falling)) * 2 / (edge[2:] - edge[:-2])
    return np.log(np.maximum(magnitude @ triangles, spec["floor"])).astype(np.float32)


def uniforms(seed, start, count):
    """Numbers start … start + count - 1 of a seed's stream 0, in [0, 1): Philox4x32-10. Any others do as well."""
    block = np.arange(start // 4, (start + count + 3) // 4, dtype=np.uint64)
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    c = [block & low, block >> half, block * 0, block * 0 + np.uint64(seed >> 32)]
    key = [seed & 0xFFFFFFFF, 0]
    for _ in range(10):
        one, two = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [two >> half ^ c[1] ^ np.uint64(key[0]), two & low, one >> half ^ c[3] ^ np.uint64(key[1]), one & low]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return ((np.stack(c, 1).ravel()[start % 4 :][:count] >> np.uint64(8)) * 2.0**-24).astype(np.float32)


voice, source, target, seed = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int((sys.argv[4:] or [0])[0])
manifest = json.loads((voice / "manifest.json").read_text())
spec, per, ahead = manifest["features"], manifest["uniforms_per_sample"], manifest.get("ahead", 0)
audio, rate = soundfile.read(source, dtype="float32")
if rate != spec["sample_rate"] or audio.ndim > 1:
    sys.exit(f"{source}: give a mono recording at {spec['sample_rate']} Hz")
features = log_mel(audio, spec)
hop, waiting = spec["hop"], manifest["spec"]["latency"]
features = np.pad(features, ((0, -(-waiting // hop)), (0, 0)), constant_values=np.log(spec["floor"]))
if spec.get("pitch"):
    sys.exit("this voice hears the pitch of its frames, for which seqgen.audio.periodicity is needed")
chosen = np.eye(manifest["spec"]["in_dim"] - spec["n_mels"], dtype=np.float32)[:1]  # of several speakers the first
features = np.concatenate([features, np.repeat(chosen, len(features), 0).reshape(len(features), -1)], 1)[None]
graph = onnxruntime.InferenceSession(str(voice / "loop.onnx"), providers=["CPUExecutionProvider"])
initial = load_file(voice / "initial.safetensors")
state = {f"state.{leaf['name']}": initial[leaf["name"]] for leaf in manifest["state"]}
made, position = [], 0
edges = [0, *range(waiting // hop + 10, features.shape[1], 10), features.shape[1]]  # the first call makes sound too
for first, last in pairwise(edges):
    samples, waiting = (last - first) * hop - waiting, 0
    noise = uniforms(seed, position * per, (samples + ahead) * per)[None]
    given = {"features": features[:, first:last], "uniforms": noise, "temperature": np.ones((), np.float32)}
    sound, *after = graph.run(None, given | state)
    state = dict(zip(state, after, strict=True))
    made.append(sound[0])
    position += samples
soundfile.write(target, np.concatenate(made)[: len(audio)], rate, subtype="PCM_16")
