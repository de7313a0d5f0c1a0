#!/usr/bin/env bash
# WaveNet on a process whose entropy is known: what dilations are worth, and what queues are.
#   egs/synthetic/wavenet/run.sh [--stage N] [--conf FILE] [--out DIR]
# conf/dilated.yaml takes some minutes on one core, conf/tiny.yaml half a one.
set -euo pipefail
conf=egs/synthetic/wavenet/conf/dilated.yaml out=exp/synthetic-wavenet data=
. "$(dirname "$0")/../../variants.sh"
body=networks.generator.body

if from 0 "training and evaluation"; then
  variant dilated
  variant plain $body.dilation_cycle=1
fi

if from 1 "bits per symbol, beside what is known"; then
  python tools/report_table.py --digits 4 "$out"/{dilated,plain}
fi

if from 2 "generation: queues against a pass over the receptive field for each symbol"; then
  python tools/generation_speed.py "$conf" --windowed --vary $body.layers $body.dilation_cycle --over ${DEPTHS:-6 8 10 11 12} \
    --elements "${ELEMENTS:-200}" --report "$out/generation.json"
fi
