#!/usr/bin/env bash
# How far ahead to predict, and from what negatives to tell it: the paper's table 2 in small, on the Free Spoken Digit Dataset.
#   egs/fsdd/cpc/ablation.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# All runs have the same rows, eight in succession of one speaker, and 16 candidates, which one row is enough for. AHEAD and
# NEGATIVES choose among them, UPDATES says how long each is trained, TARGETS what is read off all of them, digit and speaker.
set -euo pipefail
conf=egs/fsdd/cpc/conf/base.yaml out=exp/fsdd-cpc-ablation data=data/fsdd
. "$(dirname "$0")/../../variants.sh"
given=("task.train=$data/train" "task.valid=$data/valid" "task.test=$data/test" task.speaker_rows=8 objective.candidates=16
  train.steps="${UPDATES:-600}")
compared=()

if from 0 "data"; then
  seqgen data prepare fsdd --out "$data" ${corpus:+--corpus "$corpus"}
fi

for steps in ${AHEAD:-2 4 8 12 16}; do
  compared+=("$out/steps-$steps")
  if from 1 "$steps steps ahead"; then variant "steps-$steps" "${given[@]}" objective.steps="$steps"; fi
done
for kind in ${NEGATIVES:-same-speaker mixed-excluding same-speaker-excluding sequence}; do
  compared+=("$out/$kind")
  if from 1 "negatives: $kind"; then variant "$kind" "${given[@]}" objective.negatives="$kind"; fi
done
python tools/report_table.py "${compared[@]}"

if from 2 "linear probes"; then
  for target in ${TARGETS-digit speaker}; do
    seqgen probe "${compared[@]}" --train "$data/train" --data "$data/test" --target $target --supervised 0 \
      --report "$out/$target.json"
  done
fi
