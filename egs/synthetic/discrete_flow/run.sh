#!/usr/bin/env bash
# Discrete flows on distributions that are known: full-rank ones beside the optimum that enumeration finds, Potts models,
# sums of numbers, quantised Gaussians; beside each flow its factorised base alone and an autoregressive density.
#   egs/synthetic/discrete_flow/run.sh [--stage N] [--conf FILE] [--out DIR]
# SEEDS chooses the full-rank targets, STARTS how often each is begun, LAYERS the flows' layers, TARGETS the others. All
# together take an hour on one core; conf/tiny-1.yaml with SEEDS=0 and TARGETS= some seconds.
set -euo pipefail
conf=egs/synthetic/discrete_flow/conf/full_rank-1.yaml out=exp/synthetic-discrete-flow data=
. "$(dirname "$0")/../../variants.sh"
here=egs/synthetic/discrete_flow generator=networks.generator
declare -A body=( # of the autoregressive density: the network of the flow
  [potts]="{name: window-perceptron, vocab_size: 3, outputs: 3, window: 9, embedding: 8, hidden: 64}"
  [addition]="{name: window-perceptron, vocab_size: 10, outputs: 10, window: 21, embedding: 16, hidden: 256}"
  [gaussians]="{name: window-perceptron, vocab_size: 91, outputs: 91, window: 2, embedding: 32, hidden: 128}"
)

if from 0 "full-rank distributions"; then
  for layers in ${LAYERS:-1 2}; do for seed in ${SEEDS:-0 1 2 3 4 5 6 7 8 9 10 11}; do for turn in ${STARTS:-0 1 2 3}; do
    conf=${conf/-1./-$layers.} variant "full_rank/$layers/$seed/$turn" task.target.seed="$seed" train.seed="$turn"
  done; done; done
fi

if from 1 "Potts models, sums, Gaussians"; then
  for target in ${TARGETS-potts addition gaussians}; do
    conf=$here/conf/$target.yaml
    variant "$target/flow"
    variant "$target/factorised" "$generator.bijectors=[]" $generator.base.peak=0 train.steps=500
    variant "$target/autoregressive" "$generator={name: autoregressive, body: ${body[$target]}}"
  done
fi

if from 2 "tables"; then
  PYTHONPATH=. python $here/table.py "$out"
fi
