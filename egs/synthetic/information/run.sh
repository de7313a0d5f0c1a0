#!/usr/bin/env bash
# Bounds of mutual information on correlated Gaussians whose information is known: what each reaches, and where it ends.
#   egs/synthetic/information/run.sh [--stage N] [--conf FILE] [--out DIR]
# BOUNDS, LEVELS (nats, rising) and SEEDS choose among the runs of conf/gaussian.yaml, half a minute on one core each.
set -euo pipefail
conf=egs/synthetic/information/conf/gaussian.yaml out=exp/synthetic-information data=
. "$(dirname "$0")/../../variants.sh"

if from 0 "training and evaluation"; then
  for bound in ${BOUNDS:-infonce nwj interpolated}; do
    for seed in ${SEEDS:-0 1 2}; do
      start=  # of each level a critic goes on from what it has learnt of the one below
      for nats in ${LEVELS:-2 6 10}; do
        variant "$bound/$nats/$seed" objective.bound.name="$bound" task.gaussian.information="$nats" train.seed="$seed"
        start=$bound/$nats/$seed
      done
    done
  done
fi

if from 1 "what was found, beside what is known"; then
  python -m egs.synthetic.information.table "$out"
fi
