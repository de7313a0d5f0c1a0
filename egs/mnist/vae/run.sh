#!/usr/bin/env bash
# Variational autoencoders of binary MNIST, each pixel drawn once with its brightness as probability: by the evidence lower
# bound and by the importance-weighted bound of five samples. What held-out pictures cost by 5,000 weighted samples stands in
# one table, with paired differences; the gaps of inference beside it, by annealed importance sampling.
#   egs/mnist/vae/run.sh --corpus DIR|FILE [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# The corpus is mnist.npz (x_train, x_test), or a folder with it. BOUNDS (elbo importance-weighted) and SEEDS choose the runs,
# SAMPLES and EXAMPLES the table, OTHERS further experiments in it, MEASURE the options of `seqgen gaps`. conf/base.yaml
# takes nine minutes of one core to train, three for the table and 25 for the gaps of each model, conf/tiny.yaml some seconds.
set -euo pipefail
conf=egs/mnist/vae/conf/base.yaml out=exp/mnist-vae data=exp/mnist-vae/data
. "$(dirname "$0")/../../variants.sh"
archive=$corpus; [ ! -d "$corpus" ] || archive=$corpus/mnist.npz
declare -A bounds=(
  [elbo]="objective.bound={name: elbo}"
  [importance-weighted]="objective={name: evidence, bound: {name: importance-weighted}, samples: 5}"
)
models=()

if from 0 "data"; then
  [ -d "$data" ] || seqgen data prepare pictures --corpus "$archive" --binarise static ${TRAIN:+--train "$TRAIN"} --out "$data"
fi
for bound in ${BOUNDS-elbo importance-weighted}; do for seed in ${SEEDS:-0}; do
  models+=("$out/$bound-$seed")
  if from 1 "training, $bound, seed $seed"; then
    variant "$bound-$seed" task.data="$data" train.seed="$seed" "${bounds[$bound]}"
  fi
done; done
if from 2 "evidence by weighted samples"; then
  seqgen likelihood "${models[@]}" ${OTHERS:-} --data "$data/test" --examples "${EXAMPLES:-1000}" --figures evidence elbo rate distortion \
    --evidence-samples "${SAMPLES:-5000}" --report "$out/evidence.json" | tee "$out/evidence.txt"
fi
if from 3 "gaps of inference"; then
  for model in "${models[@]}"; do
    seqgen gaps "$model" ${MEASURE:---examples 100 --temperatures 1000 --chains 16 --families none --search-steps 1000} \
      --report "$model/gaps.json"
  done
fi
