#!/usr/bin/env bash
# Lossless compression of pictures by a language model of their pixels, against PNG: MNIST, 784 bytes a picture.
#   TRAIN=8000 TEST=500 egs/mnist/lossless/run.sh --corpus DIR|FILE [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# The corpus is mnist.npz (x_train, x_test), or a folder with it; TRAIN and TEST are how many pictures of it are taken.
set -euo pipefail
conf=egs/mnist/lossless/conf/base.yaml out=exp/mnist-lossless data=exp/mnist-lossless/data
. "$(dirname "$0")/../../options.sh"
archive=$corpus; [ ! -d "$corpus" ] || archive=$corpus/mnist.npz

if from 0 "data"; then
  python -m egs.mnist.lossless.pictures "$archive" "$data.pixels" "${TRAIN:-8000}" "${TEST:-500}"
  seqgen data prepare text --corpus "$data.pixels/train" --valid "$data.pixels/valid" --test "$data.pixels/test" \
    --out "$data" --tokenizer bytes --documents files
fi
if from 1 "training and evaluation"; then
  seqgen train "$conf" --out "$out" $([ ! -d "$out/checkpoints" ] || echo --resume) --set "task.data=$data"
  seqgen eval "$out"
fi
if from 2 "the test pictures, compressed"; then
  python tools/compression_table.py image "$data.pixels/test.raw" "$out" --size 28x28 | tee "$out/table.md"
fi
