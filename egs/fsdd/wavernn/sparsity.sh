#!/usr/bin/env bash
# Is a large sparse WaveRNN better than a small dense one with as many weights? Trains six models of one recipe on the Free
# Spoken Digit Dataset, 80 to 97.5 % sparse, and compares their likelihoods of held-out speech, in float32 and in int8.
#   egs/fsdd/wavernn/sparsity.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
set -euo pipefail
conf=egs/fsdd/wavernn/conf/sparse.yaml out=exp/fsdd-sparsity data=data/fsdd
. "$(dirname "$0")/../../vocoder.sh"

# Hidden size H, share of zeros of the products that grow with its square, and of the output layers, which grow with H. Each
# layer of a sparse model has as many weights that are not zero as that of 72-0; 224-0 shows what pruning costs.
models="72-0-0 224-0.9-0.679 160-0.8-0.55 320-0.95-0.775 224-0-0 448-0.975-0.84"

if from 0 "data"; then prepare fsdd; fi

for model in $models; do
  IFS=- read -r hidden zeros outputs <<< "$model"
  dir=$out/$model
  if from 1 "training: $hidden wide, $zeros zeros"; then
    matrices={}
    [ "$zeros" = 0 ] ||
      matrices="{recurrent: $zeros, o1.weight: $zeros, o3.weight: $zeros, o2.weight: $outputs, o4.weight: $outputs}"
    fit "$conf" "$dir" "networks.generator.body.hidden=$hidden" "sparsity.matrices=$matrices"
  fi
done

if from 2 "likelihood of the test set in float32"; then
  for model in $models; do seqgen eval "$out/$model" --likelihood-only > /dev/null; done
fi

if from 3 "the same in int8, and the speed of both"; then
  for model in $models; do
    dir=$out/$model
    for format in float32 int8; do
      seqgen export "$dir" --out "$dir/$format" $([ $format = float32 ] || echo --quantise $format)
      seqgen eval "$dir/$format" --data "$data/test" --likelihood-only --report "$dir/$format.json" > /dev/null
      seqgen bench "$dir/$format" --json > "$dir/$format.bench.json"
    done
  done
fi

python3 tools/likelihood_table.py $(for model in $models; do echo "$out/$model"; done)
