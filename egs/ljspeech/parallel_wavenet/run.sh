#!/usr/bin/env bash
# Parallel WaveNet on LJSpeech: one reader, 24 hours, 22.05 kHz. A WaveNet is trained; then a flow learns to make all
# samples at once, judged by it.
#   egs/ljspeech/parallel_wavenet/run.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# Without --corpus the public corpus is downloaded. conf/base.yaml is the real run, conf/tiny.yaml takes a minute. The
# teacher is trained as egs/ljspeech/wavenet/conf/ says under the same name; TEACHER=exp/... takes one that is there.
set -euo pipefail
conf=egs/ljspeech/parallel_wavenet/conf/base.yaml out=exp/ljspeech-parallel-wavenet data=data/ljspeech
. "$(dirname "$0")/../../vocoder.sh"

# The teacher is evaluated by egs/ljspeech/wavenet/run.sh --stage 2 --out TEACHER.
vocoder ljspeech pretrained=teacher=egs/ljspeech/wavenet/conf/ bench=--compare
