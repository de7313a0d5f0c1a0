#!/usr/bin/env python3
"""Start `seqgen-serve` on a voice, stream one recording through it over HTTP, and print what a listener notices.

    python tools/demo_stream.py VOICE IN.wav OUT.wav

The answer is written to OUT.wav block by block, as it arrives. Standard output is one JSON object: milliseconds to the
first audio, seconds in all, seconds of audio, real-time factor (below 1: faster than it plays).
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import time
from pathlib import Path

from seqgen.audio import io
from seqgen.audio.io import wav_header
from seqgen.errors import SeqgenError
from seqgen.files.outputs import replacing

_BLOCK = 4096
_START_SECONDS = 30


def _serve(voice: Path) -> tuple[subprocess.Popen[str], int]:
    """The server process and the port it chose."""
    command = [sys.executable, "-m", "serving.cli", "serve", "--voice", str(voice), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert server.stdout is not None
    deadline = time.monotonic() + _START_SECONDS
    for line in server.stdout:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if found:
            return server, int(found[1])
        if time.monotonic() > deadline:
            break
    server.kill()
    raise SeqgenError(f"{voice}: the server did not start", remedy="run `seqgen-serve serve` by hand to see why")


def _stream(port: int, recording: Path, out: Path) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    began = time.perf_counter()
    body = recording.read_bytes()
    connection.request("POST", "/v1/vocode?seed=1&format=pcm", body=body, headers={"Content-Type": "audio/wav"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise SeqgenError(f"the server answered {answer.status}: {answer.read().decode()}")
    rate = io.info(recording).sample_rate
    first, written = 0.0, 0
    with replacing(out) as stream:
        stream.write(wav_header(rate, samples=None))
        while block := answer.read1(_BLOCK):
            first = first or time.perf_counter() - began
            stream.write(block)
            written += len(block)
        stream.seek(0)
        stream.write(wav_header(rate, samples=written // 2))
    seconds, audio = time.perf_counter() - began, written / 2 / rate
    return {
        "first_audio_ms": round(1000 * first, 1),
        "seconds": round(seconds, 3),
        "audio_seconds": round(audio, 3),
        "real_time_factor": round(seconds / audio, 3),
    }


def main() -> int:
    """Serve, stream, stop."""
    voice, recording, out = map(Path, sys.argv[1:4])
    try:
        server, port = _serve(voice)
        try:
            result = _stream(port, recording, out)
        finally:
            server.terminate()
            server.wait(30)
    except SeqgenError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(json.dumps({"voice": str(voice), "recording": recording.name, **result}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
