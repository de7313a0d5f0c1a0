#!/usr/bin/env bash
# Parallel WaveNet on the Free Spoken Digit Dataset: a flow learns to make all samples at once, judged by a WaveNet and
# heard by a network that knows digits.
#   egs/fsdd/parallel_wavenet/run.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# Without --corpus the public corpus is downloaded. conf/base.yaml is the real run, conf/tiny.yaml takes a minute. The
# teacher is trained as egs/fsdd/wavenet/conf/ says under the same name; TEACHER=exp/... takes one that is there.
set -euo pipefail
conf=egs/fsdd/parallel_wavenet/conf/base.yaml out=exp/fsdd-parallel-wavenet data=data/fsdd
. "$(dirname "$0")/../../vocoder.sh"

vocoder fsdd speakers=yes formats="float32 int8" scored=int8 beside=teacher bench=--compare \
  pretrained="teacher=egs/fsdd/wavenet/conf/ classifier=egs/fsdd/parallel_wavenet/conf/classifier-"
