#!/usr/bin/env bash
# Rate against distortion: codes of binary digits of 8 x 8 pixels, the rate with several weights, for a decoder whose pixels
# are independent given the code and for an autoregressive one, which can do without a code. Prior: a learnt mixture.
#   egs/digits/broken_elbo/run.sh [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# The digits are scikit-learn's. BETAS, DECODERS (independent autoregressive) and SEEDS choose the runs, TARGET adds one
# whose rate is held there, in nats. conf/base.yaml takes one to three minutes a run on one core, conf/tiny.yaml some seconds.
set -euo pipefail
conf=egs/digits/broken_elbo/conf/base.yaml out=exp/digits-broken-elbo data=exp/digits-broken-elbo/data
. "$(dirname "$0")/../../variants.sh"
kind=$(basename "$conf")

if from 0 "digits"; then
  [ -d "$data" ] || seqgen data prepare pictures --corpus digits --binarise threshold --out "$data"
fi
for decoder in ${DECODERS:-independent autoregressive}; do
  compared=()
  for beta in ${BETAS:-0.1 0.3 0.6 0.9 1 1.1 1.5} ${TARGET:+target}; do for seed in ${SEEDS:-0}; do
    compared+=("$out/$decoder-$beta-$seed")
    from 1 "$decoder decoder, weight $beta, seed $seed" || continue
    control="{name: weighted, beta: $beta}"
    [ "$beta" != target ] || control="{name: target, nats: $TARGET}"
    [ "$decoder" = independent ] || conf=$(dirname "$conf")/autoregressive-$kind
    variant "$decoder-$beta-$seed" "task.data=$data" "objective.rate=$control" "train.seed=$seed"
    conf=$(dirname "$conf")/$kind
  done; done
  if from 2 "table and picture, $decoder decoder"; then
    seqgen curve "${compared[@]}" -o "$out/$decoder.png" | tee "$out/$decoder.txt"
  fi
done
