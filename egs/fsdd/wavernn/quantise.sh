#!/usr/bin/env bash
# What does int8 cost, and what after training against its rounding? Goes on from a dense WaveRNN-224 (that of sparsity.sh,
# trained where it is not there yet), with rounded products and without, and compares likelihoods of held-out speech.
#   egs/fsdd/wavernn/quantise.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
set -euo pipefail
conf=egs/fsdd/wavernn/conf/sparse.yaml out=exp/fsdd-sparsity data=data/fsdd
. "$(dirname "$0")/../../vocoder.sh"

models="224-0-0 224-0-0-further 224-0-0-rounded"
dense=(networks.generator.body.hidden=224 "sparsity.matrices={}")
further=(train.steps=600 train.learning_rate=1e-3 train.warmup=20 train.validate_every=600)

if from 0 "data"; then prepare fsdd; fi

if from 1 "training"; then
  fit "$conf" "$out/224-0-0" "${dense[@]}"
  for model in further:float32 rounded:int8; do
    start=$([ -d "$out/224-0-0-${model%:*}/checkpoints" ] || echo --init-from "$out/224-0-0")
    fit "$conf" "$out/224-0-0-${model%:*}" "${dense[@]}" "${further[@]}" quantization.precision="${model#*:}" $start
  done
fi

if from 2 "likelihood of the test set in float32 and int8"; then
  for model in $models; do
    dir=$out/$model
    seqgen eval "$dir" --likelihood-only > /dev/null
    for format in float32 int8; do
      seqgen export "$dir" --out "$dir/$format" $([ $format = float32 ] || echo --quantise $format)
      seqgen eval "$dir/$format" --data "$data/test" --likelihood-only --report "$dir/$format.json" > /dev/null
    done
  done
fi

python3 tools/likelihood_table.py $(for model in $models; do echo "$out/$model"; done)
