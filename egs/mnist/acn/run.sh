#!/usr/bin/env bash
# Associative compression of binary MNIST: the pixels' decoder without a code, VAEs of learnt and of unit
# variance, and priors that are told a similar picture's code, or that of any picture.
#   egs/mnist/acn/run.sh --corpus DIR|FILE [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# The corpus is mnist.npz (x_train, x_test), or a folder with it. VARIANTS and SEEDS choose the runs, COUNTS how many
# pictures are taken. conf/base.yaml takes a quarter of an hour a run on one core, conf/tiny.yaml some seconds.
set -euo pipefail
conf=egs/mnist/acn/conf/base.yaml out=exp/mnist-acn data=exp/mnist-acn/data
. "$(dirname "$0")/../../acn.sh"
[ ! -d "$corpus" ] || corpus=$corpus/mnist.npz

if from 0 "pictures"; then
  [ -d "$data" ] || seqgen data prepare pictures --corpus "$corpus" --binarise static --out "$data" ${COUNTS:---valid 500 --test 1000}
fi
compared
