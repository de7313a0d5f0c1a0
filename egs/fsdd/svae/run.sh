#!/usr/bin/env bash
# Structured VAE of speech: log-mel frames of spoken digits, their codes moved by linear dynamics that a hidden chain of states
# chooses. What the states are is compared with phones, words and changes of the sound; beside them those of a mixture,
# which knows nothing of time.
#   egs/fsdd/svae/run.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# Without --corpus the public corpus is downloaded. conf/base.yaml takes four minutes of one core a run, conf/tiny.yaml some
# seconds. SEEDS and RUNS (switching mixture) choose the runs, PHONES names a CTM file of the test recordings; by default
# they are aligned (extra `phones`).
set -euo pipefail
conf=egs/fsdd/svae/conf/base.yaml out=exp/fsdd-svae data=data/fsdd
. "$(dirname "$0")/../../variants.sh"
phones=${PHONES:-$out/phones.ctm} runs=()
dim=$(sed -n 's/.*posterior: {name: potentials, dim: \([0-9]*\)}.*/\1/p' "$conf")
states=$(sed -n 's/.*states: \([0-9]*\),.*/\1/p' "$conf")

if from 0 "data"; then
  [ -d "$data" ] || seqgen data prepare fsdd --out "$data" ${corpus:+--corpus "$corpus"}
  [ -f "$phones" ] || { mkdir -p "$out"; seqgen data phones "$data/test" -o "$phones"; }
fi
for seed in ${SEEDS:-0}; do for name in ${RUNS:-switching mixture}; do
  runs+=("$out/$seed/$name") prior=()
  [ "$name" = switching ] || prior=("networks.model.prior={name: conjugate-mixture, dim: $dim, components: $states}")
  if from 1 "$name, seed $seed"; then
    variant "$seed/$name" train.seed="$seed" "task.train=$data/train" "task.valid=$data/valid" "task.test=$data/test" "${prior[@]}"
  fi
done; done
if from 2 "units"; then
  python tools/report_table.py "${runs[@]}"
  python -m egs.fsdd.svae.units "$out/units" "$phones" "${runs[@]}"
fi
