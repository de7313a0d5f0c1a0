#!/usr/bin/env bash
# Codes of symbols of binary MNIST, by five estimators of the gradient: relaxed symbols
# (Gumbel-softmax), annealed; symbols whose gradient is that of relaxed ones; symbols whose gradient is that of their
# probabilities (straight through); and the score function, where what a row is told is compared with the mean of earlier
# ones, or with that of another sample.
#   egs/mnist/gumbel_softmax/run.sh [--corpus FILE] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# The corpus is mnist.npz; without one scikit-learn's digits are taken, for conf/tiny.yaml. ESTIMATORS and SEEDS choose the runs.
# conf/base.yaml takes two minutes a run on one core. Bounds are of symbols drawn as they are, whatever was trained with.
set -euo pipefail
conf=egs/mnist/gumbel_softmax/conf/base.yaml out=exp/mnist-gumbel-softmax data=exp/mnist-gumbel-softmax/data
. "$(dirname "$0")/../../variants.sh"
runs=() size="groups: 20, classes: 10" annealed="temperature: 1.0, rate: 1e-4, floor: 0.5, every: 100"
declare -A posteriors=(
  [gumbel-softmax]="{name: gumbel-softmax, $size, $annealed}"
  [straight-through-gumbel]="{name: gumbel-softmax, $size, $annealed, straight_through: true}"
  [straight-through]="{name: categorical, $size, straight_through: true}"
  [score-function]="{name: categorical, $size}"
  [score-function-others]="{name: categorical, $size}"
)
declare -A gradients=(
  [score-function]="{name: score-function, baseline: running}"
  [score-function-others]="{name: score-function, baseline: leave-one-out}"
)
declare -A samples=([score-function-others]=2)

if from 0 "pictures"; then
  [ -d "$data" ] || seqgen data prepare pictures --corpus "${corpus:-digits}" --binarise static --out "$data"
fi
for seed in ${SEEDS:-0 1 2}; do
  for estimator in ${ESTIMATORS:-gumbel-softmax straight-through-gumbel straight-through score-function score-function-others}; do
    runs+=("$out/$estimator-$seed")
    from 1 "$estimator, seed $seed" || continue
    variant "$estimator-$seed" task.data="$data" train.seed="$seed" networks.model.posterior="${posteriors[$estimator]}" \
      objective.gradient="${gradients[$estimator]:-"{name: pathwise}"}" objective.samples="${samples[$estimator]:-1}"
  done
done
if from 2 "table"; then
  python tools/report_table.py "${runs[@]}" | tee "$out/table.md"
  python tools/seeds_table.py "${runs[@]}" | tee "$out/seeds.md"
fi
