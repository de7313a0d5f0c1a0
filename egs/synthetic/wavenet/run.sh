#!/usr/bin/env bash
# WaveNet on a process whose entropy is known: what dilations are worth, and what queues are.
#   egs/synthetic/wavenet/run.sh [--conf FILE] [--out DIR]
# full.yaml takes some five minutes on one core, tiny.yaml a quarter of one.
set -euo pipefail
conf=egs/synthetic/wavenet/full.yaml out=exp/synthetic-wavenet data=
. "$(dirname "$0")/../../options.sh"

python -m egs.synthetic.wavenet.experiment "$conf" --out "$out"
