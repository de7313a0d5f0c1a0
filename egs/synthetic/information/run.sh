#!/usr/bin/env bash
# Bounds of mutual information on correlated Gaussians whose information is known, and on their cubes, which tell as much of
# each other and hide it better: what each bound reaches, how far it scatters, and where it ends.
#   egs/synthetic/information/run.sh [--stage N] [--conf FILE] [--out DIR]
# FORMS (gaussian cubic), BOUNDS, LEVELS (nats, rising) and SEEDS choose among the runs of conf/gaussian.yaml, half a minute on
# one core each; UPDATES says how long each is trained.
set -euo pipefail
conf=egs/synthetic/information/conf/gaussian.yaml out=exp/synthetic-information data=
. "$(dirname "$0")/../../variants.sh"
declare -A bounds=(
  [infonce]="{name: infonce}"
  [interpolated]="{name: interpolated}"
  [half-interpolated]="{name: interpolated, alpha: 0.5}"
  [nwj]="{name: nwj}"
  [jensen-shannon]="{name: jensen-shannon}"
  [donsker-varadhan]="{name: donsker-varadhan, forgetting: 0.01}"
)
declare -A cubes=([gaussian]=false [cubic]=true)

if from 0 "training and evaluation"; then
  for form in ${FORMS:-gaussian cubic}; do for bound in ${BOUNDS:-infonce half-interpolated interpolated nwj jensen-shannon donsker-varadhan}; do
    for seed in ${SEEDS:-0 1 2}; do
      start=  # of each level a critic goes on from what it has learnt of the one below
      for nats in ${LEVELS:-2 4 6 8 10}; do
        variant "$form/$bound/$nats/$seed" "objective.bound=${bounds[$bound]}" task.gaussian.information="$nats" \
          task.gaussian.cubic="${cubes[$form]}" train.seed="$seed" ${UPDATES:+train.steps="$UPDATES"} ||
          { echo "$form, $bound: no critic of $nats nats, and none of more, by seed $seed" >&2; break; }
        start=$form/$bound/$nats/$seed
      done
    done
  done; done
fi

if from 1 "what was found, beside what is known"; then
  python -m egs.synthetic.information.table "$out" | tee "$out/table.md"
fi
