"""A streaming vocoder as one writes it in an hour, to measure ours beside: FastAPI and one onnxruntime session.

    python tools/peer_fastapi.py egs/demo/voice 8081
    POST /vocode: float32 frames [F, bands] in, 16-bit samples out while they are made.

Nothing in it is slowed down on purpose: requests share the session, as onnxruntime allows, with its own choice of
threads; the framework runs each generator in its thread pool.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from safetensors.numpy import load_file

CHUNK = 8
"""Frames that are made at once."""


def create(folder: Path) -> FastAPI:
    """The application for the voice of a bundle."""
    app = FastAPI()
    session = onnxruntime.InferenceSession(str(folder / "loop.onnx"))
    manifest = json.loads((folder / "manifest.json").read_text())
    names = [leaf["name"] for leaf in manifest["state"]]
    initial = load_file(folder / "initial.safetensors")
    hop, latency, per_sample = manifest["spec"]["up"], manifest["spec"]["latency"], manifest["uniforms_per_sample"]
    bands, silence = manifest["features"]["n_mels"], float(np.log(manifest["features"]["floor"]))

    def sound(frames: np.ndarray) -> Iterator[bytes]:
        state, rng, made, total = [initial[name] for name in names], np.random.default_rng(), 0, len(frames) * hop
        tail = np.full((-(-latency // hop), bands), silence, np.float32)
        frames = np.concatenate([frames, tail])
        for start in range(0, len(frames), CHUNK):
            chunk = frames[start : start + CHUNK]
            samples = len(chunk) * hop - (0 if start else latency)
            inputs = {
                "features": chunk[None],
                "uniforms": rng.random((1, samples * per_sample), np.float32),
                "temperature": np.array(1.0, np.float32),
            }
            inputs |= {f"state.{name}": value for name, value in zip(names, state, strict=True)}
            audio, *state = session.run(None, inputs)
            owed = np.clip(audio[0][: total - made], -1, 32767 / 32768)
            made += len(owed)
            yield (owed * 32768).astype("<i2").tobytes()

    @app.post("/vocode")
    async def vocode(request: Request) -> StreamingResponse:
        frames = np.frombuffer(await request.body(), "<f4").reshape(-1, bands)
        return StreamingResponse(sound(frames), media_type="audio/pcm")

    return app


if __name__ == "__main__":
    uvicorn.run(create(Path(sys.argv[1])), port=int(sys.argv[2]), log_level="warning")
