#!/usr/bin/env bash
# δ-VAE on binary MNIST: an autoregressive decoder with slow codes, the decoder without a code, an ordinary VAE and free bits;
# then a prior that is fitted to the codes of each.
#   egs/mnist/delta_vae/run.sh --corpus DIR|FILE [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# The corpus is mnist.npz (x_train, x_test), or a folder with it. VARIANTS and SEEDS choose the runs, COUNTS how many
# pictures are taken. conf/base.yaml takes a quarter of an hour a run on one core, conf/tiny.yaml some seconds.
set -euo pipefail
conf=egs/mnist/delta_vae/conf/base.yaml out=exp/mnist-delta-vae data=exp/mnist-delta-vae/data
free=0.9 VARIANTS=${VARIANTS:-vae free-bits delta delta-plain}
. "$(dirname "$0")/../../delta_vae.sh"
[ ! -d "$corpus" ] || corpus=$corpus/mnist.npz

if from 0 "pictures"; then
  [ -d "$data" ] || seqgen data prepare pictures --corpus "$corpus" --binarise static --out "$data" ${COUNTS:---valid 500 --test 1000}
fi
compared "task.data=$data"
