#!/usr/bin/env bash
# WaveRNN on the Free Spoken Digit Dataset: six speakers, 8 kHz, conditioned on log-mel frames and the speaker.
#   egs/fsdd/wavernn/run.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# Without --corpus the public corpus is downloaded. conf/base.yaml is the real run, conf/tiny.yaml takes a minute.
set -euo pipefail
conf=egs/fsdd/wavernn/conf/base.yaml out=exp/fsdd-wavernn data=data/fsdd
. "$(dirname "$0")/../../vocoder.sh"

vocoder fsdd speakers=yes
