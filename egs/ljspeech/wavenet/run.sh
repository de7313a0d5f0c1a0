#!/usr/bin/env bash
# WaveNet on LJSpeech: one reader, 24 hours, 22.05 kHz, conditioned on log-mel frames.
#   egs/ljspeech/wavenet/run.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# Without --corpus the public corpus is downloaded. conf/base.yaml is the real run, conf/tiny.yaml takes a minute.
set -euo pipefail
conf=egs/ljspeech/wavenet/conf/base.yaml out=exp/ljspeech-wavenet data=data/ljspeech
. "$(dirname "$0")/../../vocoder.sh"

vocoder ljspeech formats="float32 int8"
