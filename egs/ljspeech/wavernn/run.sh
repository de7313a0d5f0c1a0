#!/usr/bin/env bash
# WaveRNN on LJSpeech: one reader, 24 hours, 22.05 kHz, conditioned on log-mel frames.
#   egs/ljspeech/wavernn/run.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# Without --corpus the public corpus is downloaded. conf/base.yaml is the real run, conf/tiny.yaml takes a minute.
set -euo pipefail
conf=egs/ljspeech/wavernn/conf/base.yaml out=exp/ljspeech-wavernn data=data/ljspeech
. "$(dirname "$0")/../../vocoder.sh"

vocoder ljspeech
