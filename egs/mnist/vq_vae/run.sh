#!/usr/bin/env bash
# VQ-VAE of binary MNIST: a few symbols for each picture; an ordinary VAE with the same decoder beside it, and a prior that is
# fitted to the codes, of which pictures are drawn.
#   egs/mnist/vq_vae/run.sh --corpus DIR|FILE [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# The corpus is mnist.npz (x_train, x_test), or a folder with it. CLASSES (the codebook's entries) and SEEDS choose the runs,
# TRAIN how many training pictures there are. conf/base.yaml takes some minutes a run on one core, conf/tiny.yaml some
# seconds.
set -euo pipefail
conf=egs/mnist/vq_vae/conf/base.yaml out=exp/mnist-vq-vae data=exp/mnist-vq-vae/data
. "$(dirname "$0")/../../vq_vae.sh"
archive=$corpus; [ ! -d "$corpus" ] || archive=$corpus/mnist.npz
gaussian="networks.model.posterior={name: gaussian, dim: $dim}|networks.model.prior={name: standard-normal, dim: $dim}"

if from 0 "data"; then
  [ -d "$data" ] || seqgen data prepare pictures --corpus "$archive" --binarise static ${TRAIN:+--train "$TRAIN"} --out "$data"
fi
compared "task.data=$data"
if from 5 "pictures of fitted priors"; then
  for fitted in "$out"/*/codebook-*-fitted; do seqgen sample "$fitted" -o "$fitted/samples.png"; done
fi
