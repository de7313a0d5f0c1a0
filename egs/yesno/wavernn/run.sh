#!/usr/bin/env bash
# WaveRNN on OpenSLR's yesno: one speaker, 60 recordings of eight words, 8 kHz, conditioned on log-mel frames.
#   egs/yesno/wavernn/run.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# Without --corpus the public corpus is downloaded. conf/base.yaml is the real run, conf/tiny.yaml takes a minute.
set -euo pipefail
conf=egs/yesno/wavernn/conf/base.yaml out=exp/yesno-wavernn data=data/yesno
. "$(dirname "$0")/../../vocoder.sh"

vocoder yesno
