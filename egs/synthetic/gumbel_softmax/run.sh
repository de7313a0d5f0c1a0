#!/usr/bin/env bash
# Points of a pinwheel by one symbol of eight each, a code that is enumerated: bounds that are reached by relaxed symbols
# (Gumbel-softmax), symbols that a gradient is led through, and the score function; then the bias and the variance of
# every estimator at what was learnt, against the gradient by all eight symbols.
#   egs/synthetic/gumbel_softmax/run.sh [--stage N] [--conf FILE] [--out DIR]
# ESTIMATORS and SEEDS choose the runs, DRAWS the gradients of a variance. conf/base.yaml takes 20 seconds a run of one core.
set -euo pipefail
conf=egs/synthetic/gumbel_softmax/conf/base.yaml out=exp/synthetic-gumbel-softmax data=
. "$(dirname "$0")/../../variants.sh"
runs=() compared=() size="groups: 1, classes: 8"
declare -A posteriors=(
  [gumbel-softmax]="{name: gumbel-softmax, $size}"
  [straight-through-gumbel]="{name: gumbel-softmax, $size, straight_through: true}"
  [straight-through]="{name: categorical, $size, straight_through: true}"
  [score-function]="{name: categorical, $size}"
)
pathwise="{name: pathwise}" score="{name: score-function, baseline: leave-one-out}"
for seed in ${SEEDS:-0 1 2}; do
  for estimator in ${ESTIMATORS:-gumbel-softmax straight-through-gumbel straight-through score-function}; do
    runs+=("$out/$estimator-$seed")
    from 0 "$estimator, seed $seed" || continue
    gradient=$pathwise samples=1; [ "$estimator" != score-function ] || gradient=$score samples=2
    variant "$estimator-$seed" train.seed="$seed" networks.model.posterior="${posteriors[$estimator]}" \
      objective.gradient="$gradient" objective.samples="$samples"
  done
done
if from 1 "bounds, biases and variances"; then
  python tools/seeds_table.py "${runs[@]}" | tee "$out/seeds.md"
  for temperature in 2 1 0.5 0.1; do
    relaxed="posterior: {name: gumbel-softmax, $size, temperature: $temperature" rest="gradient: $pathwise, samples: 1"
    compared+=(--variant "gumbel-$temperature={$relaxed}, $rest}")
    compared+=(--variant "straight-through-gumbel-$temperature={$relaxed, straight_through: true}, $rest}")
  done
  compared+=(--variant "straight-through={posterior: ${posteriors[straight-through]}, $rest}")
  for baseline in none leave-one-out; do
    rest="gradient: {name: score-function, baseline: $baseline}, samples: 2"
    compared+=(--variant "score-$baseline-2={posterior: ${posteriors[score-function]}, $rest}")
  done
  python -m egs.gradients "${runs[@]}" "${compared[@]}" --exact --draws "${DRAWS:-1000}" | tee "$out/gradients.md"
fi
