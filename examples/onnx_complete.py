"""Goes on with a text by a language model's ONNX graphs, sixteen symbols at a time; seqgen itself is not needed.

pip install numpy onnxruntime safetensors
python onnx_complete.py LM "Once upon a time" [SYMBOLS] [SEED]
"""

import codecs
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from safetensors.numpy import load_file


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


def table(tokenizer):
    """Table of the bytes that each symbol is written as."""
    if tokenizer["name"] == "bytes":
        return [bytes([one]) for one in range(256)] + [b""] * tokenizer["stop"]
    if tokenizer["name"] == "characters":
        return ["\ufffd".encode(), *[b""] * tokenizer["stop"], *(one.encode() for one in tokenizer["characters"])]
    sys.exit(f"a tokenizer of {tokenizer['name']}: decode the symbols with its own library")


model, prompt, count, seed = Path(sys.argv[1]), sys.argv[2], *map(int, [*sys.argv[3:], 400, 0][:2])
manifest = json.loads((model / "manifest.json").read_text())
if manifest["kind"] != "language-model":
    sys.exit(f"{model}: a {manifest['kind']}, no language model")
written = table(json.loads((model / "tokenizer.json").read_text()))
symbols = {one: symbol for symbol, one in reversed(list(enumerate(written))) if one}
pieces = [one.encode() for one in prompt] if b"\xff" not in symbols else [bytes([one]) for one in prompt.encode()]
given = np.array([[symbols.get(one, 0) for one in pieces]], np.int64)
step, loop = (
    onnxruntime.InferenceSession(str(model / f"{name}.onnx"), providers=["CPUExecutionProvider"])
    for name in ("step", "loop")
)
initial = load_file(model / "initial.safetensors")
state = {f"state.{leaf['name']}": initial[leaf["name"]] for leaf in manifest["state"]}
if given.size:  # the state behind the prompt; the logits say how likely each of its symbols was
    _, *after = step.run(None, {"x": given, **state})
    state = dict(zip(state, after, strict=True))
characters = codecs.getincrementaldecoder("utf-8")("replace")
sys.stdout.write(prompt)
for start in range(0, count, 16):
    noise = uniforms(seed, start, min(16, count - start))[None]
    made, *after = loop.run(None, {"uniforms": noise, "temperature": np.ones((), np.float32), **state})
    state = dict(zip(state, after, strict=True))
    sys.stdout.write(characters.decode(b"".join(written[symbol] for symbol in made[0])))
    sys.stdout.flush()
sys.stdout.write(characters.decode(b"", final=True) + "\n")
