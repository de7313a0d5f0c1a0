#!/usr/bin/env bash
# Lossless compression of 16-bit speech by an unconditional WaveRNN, against FLAC: six speakers, 8 kHz.
#   egs/fsdd/lossless/run.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# Without --corpus the public corpus is downloaded. conf/base.yaml is the real run, conf/tiny.yaml takes some seconds.
set -euo pipefail
conf=egs/fsdd/lossless/conf/base.yaml out=exp/fsdd-lossless data=data/fsdd
. "$(dirname "$0")/../../vocoder.sh"

if from 0 "data"; then prepare fsdd; fi
if from 1 "training"; then fit "$conf" "$out"; fi
if from 2 "the test recordings as one file, compressed"; then
  python -m egs.fsdd.lossless.joined "$data/test" "$out/test.wav"
  python tools/compression_table.py audio "$out/test.wav" "$out" | tee "$out/table.md"
fi
