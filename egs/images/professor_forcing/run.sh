#!/usr/bin/env bash
# Professor forcing on pictures as sequences: binary pixels of MNIST, row by row, by a recurrent network; beside it the same
# network by teacher forcing alone. Likelihoods are exact, in nats a picture.
#   egs/images/professor_forcing/run.sh --corpus DIR|FILE [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# The corpus is mnist.npz (x_train, x_test), or a folder with it; SIDE is the side of a picture (28 or a part of it), TRAIN
# and TEST how many are taken, SEEDS chooses the runs. conf/tiny.yaml (SIDE=7) takes some seconds.
set -euo pipefail
conf=egs/images/professor_forcing/conf/base.yaml out=exp/images-professor-forcing data=exp/images-professor-forcing/data
. "$(dirname "$0")/../../variants.sh"
archive=$corpus forced=$(dirname "$conf")/forced-$(basename "$conf"); [ ! -d "$corpus" ] || archive=$corpus/mnist.npz

if from 0 "data"; then
  python -m egs.images.professor_forcing.pictures "$archive" "$data.pixels" "${SIDE:-14}" "${TRAIN:-20000}" "${TEST:-1000}"
  seqgen data prepare text --corpus "$data.pixels/train" --valid "$data.pixels/valid" --test "$data.pixels/test" \
    --out "$data" --tokenizer characters --documents files
fi
compared=()
for seed in ${SEEDS:-0}; do
  settings=(task.data="$data" train.seed="$seed")
  if from 1 "teacher forcing, seed $seed"; then conf=$forced variant "$seed/teacher" "${settings[@]}"; fi
  if from 2 "professor forcing, seed $seed"; then variant "$seed/professor" "${settings[@]}"; fi
  compared+=("$out/$seed/teacher" "$out/$seed/professor")
done
if from 3 "samples, judged by teacher forcing of another seed, and a table"; then
  judge=("${settings[@]}" train.seed=100)
  conf=$forced variant judge "${judge[@]}"
  for one in "${compared[@]}"; do seqgen eval "$one" --samples "${SAMPLES:-500}" --oracle "$out/judge" > /dev/null; done
  python -m egs.images.professor_forcing.table "${compared[@]}" | tee "$out/table.md"
fi
