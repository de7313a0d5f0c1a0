#!/usr/bin/env bash
# Bounds of binary digits of 8 x 8 pixels by estimators of one gradient: the total derivative, with the rate of the samples
# or in closed form, against the path derivative (sticking the landing); of the bound of five samples the total derivative,
# the path derivative, which is biased there, and the doubly reparameterised one. Then the variance of each at what was
# learnt.
#   egs/digits/sticking_the_landing/run.sh [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# The digits are scikit-learn's. ESTIMATORS and SEEDS choose the runs, DRAWS the gradients that variances are of. One run that
# TRACED names, as in path-0, is trained anew for ever more UPDATES, and the variances along its way are drawn.
# conf/base.yaml takes half a minute a run on one core, conf/tiny.yaml some seconds.
set -euo pipefail
conf=egs/digits/sticking_the_landing/conf/base.yaml
out=exp/digits-sticking-the-landing data=exp/digits-sticking-the-landing/data
. "$(dirname "$0")/../../gradients.sh"
runs=() compared=() all="total closed path total-5 path-5 doubly-5"
one="bound: {name: elbo}, samples: 1" five="bound: {name: importance-weighted}, samples: 5"
declare -A objectives=(
  [total]="{gradient: {name: pathwise}, $one, closed: false}"
  [closed]="{gradient: {name: pathwise}, $one, closed: true}"
  [path]="{gradient: {name: sticking-the-landing}, $one}"
  [total-5]="{gradient: {name: pathwise}, $five}"
  [path-5]="{gradient: {name: sticking-the-landing}, $five}"
  [doubly-5]="{gradient: {name: doubly-reparameterised}, $five}"
)

if from 0 "digits"; then
  [ -d "$data" ] || seqgen data prepare pictures --corpus "${corpus:-digits}" --binarise threshold --out "$data"
fi
for seed in ${SEEDS:-0 1 2}; do
  for estimator in ${ESTIMATORS:-$all}; do
    runs+=("$out/$estimator-$seed") && from 1 "$estimator, seed $seed" || continue
    variant "$estimator-$seed" task.data="$data" train.seed="$seed" \
      "objective={name: evidence, evaluation_samples: ${SAMPLES:-200}, ${objectives[$estimator]#\{}"
  done
done
for estimator in $all; do compared+=(--variant "$estimator=${objectives[$estimator]}"); done
if from 2 "bounds and variances"; then
  python tools/seeds_table.py "${runs[@]}" | tee "$out/seeds.md"
  python -m egs.gradients "${runs[@]}" "${compared[@]}" --draws "${DRAWS:-50}" | tee "$out/variances.md"
fi
[ -z "${TRACED:-}" ] || along "$TRACED" "${objectives[${TRACED%-*}]#\{}" "${compared[@]}"
