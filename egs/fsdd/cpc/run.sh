#!/usr/bin/env bash
# Contrastive predictive coding on the Free Spoken Digit Dataset: an encoder of raw audio at 8 kHz that is told no labels.
#   egs/fsdd/cpc/run.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# Without --corpus the public corpus is downloaded. conf/base.yaml takes seven minutes of one core, conf/tiny.yaml some seconds.
# TARGETS chooses what is probed, digit and speaker; SUPERVISED says for how many updates the encoder is trained by the labels,
# for comparison.
set -euo pipefail
conf=egs/fsdd/cpc/conf/base.yaml out=exp/fsdd-cpc data=data/fsdd
. "$(dirname "$0")/../../variants.sh"

if from 0 "data"; then
  seqgen data prepare fsdd --out "$data" ${corpus:+--corpus "$corpus"}
fi

if from 1 "training and evaluation"; then
  variant . "task.train=$data/train" "task.valid=$data/valid" "task.test=$data/test"
fi

if from 2 "linear probes"; then
  for target in ${TARGETS-digit speaker}; do
    seqgen probe "$out" --train "$data/train" --data "$data/test" --target $target --supervised "${SUPERVISED:-300}" \
      --report "$out/$target.json"
  done
fi
