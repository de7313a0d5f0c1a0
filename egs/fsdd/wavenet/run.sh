#!/usr/bin/env bash
# WaveNet on the Free Spoken Digit Dataset: six speakers, 8 kHz, conditioned on log-mel frames and the speaker.
#   egs/fsdd/wavenet/run.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# Without --corpus the public corpus is downloaded. conf/base.yaml is the real run, conf/tiny.yaml takes a minute.
set -euo pipefail
conf=egs/fsdd/wavenet/conf/base.yaml out=exp/fsdd-wavenet data=data/fsdd
. "$(dirname "$0")/../../vocoder.sh"

vocoder fsdd speakers=yes formats="float32 int8"
