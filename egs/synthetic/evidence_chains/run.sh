#!/usr/bin/env bash
# Recursive evidence chains on drawn matrices of ratings of rank 5, beside the means of users and items and beside matrix
# factorisation with a tuned weight decay: held-out ratings, new users of whom 1 to 20 ratings are given, and steps to a
# target as the users become more.
#   egs/synthetic/evidence_chains/run.sh [--stage N] [--conf FILE] [--out DIR]
# SEEDS chooses the matrices, SIZES how many times the users of the file there are, DECAYS the weight decays that are
# tried. All together take two hours on one core; conf/tiny.yaml with SEEDS=0, SIZES=1 and DECAYS=1 some seconds.
set -euo pipefail
conf=egs/synthetic/evidence_chains/conf/base.yaml out=exp/synthetic-evidence-chains data=
. "$(dirname "$0")/../../variants.sh"
factors=$(dirname "$conf")/factorisation-$(basename "$conf")
users=$(sed -n 's/.*process: {users: \([0-9]*\),.*/\1/p' "$conf")

for size in ${SIZES:-1 2 4}; do
  for seed in ${SEEDS:-0 1 2}; do
    matrix=(task.process.users=$((size * users)) task.process.seed="$seed" train.seed="$seed")
    if from 0 "matrix factorisation and means, ${size}x the users, seed $seed"; then
      for decay in ${DECAYS:-0.5 1 2 4}; do
        options=("${matrix[@]}" networks.network.users=$((size * users)) networks.network.ridge="$decay" objective.weight_decay="$decay")
        conf=$factors variant "$size/$seed/means/$decay" "${options[@]}" networks.network.factors=0 train.steps="${MEANS_STEPS:-400}"
        conf=$factors variant "$size/$seed/factorisation/$decay" "${options[@]}"
      done
    fi
    if from 1 "evidence chains"; then variant "$size/$seed/chains/0" "${matrix[@]}"; fi
  done
done

if from 2 "tables"; then
  python -m egs.synthetic.evidence_chains.table "$out" --target "${TARGET:-0.6}"
fi
