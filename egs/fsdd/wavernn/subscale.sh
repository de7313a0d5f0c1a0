#!/usr/bin/env bash
# What does making several samples at a time cost? Trains a plain WaveRNN and subscale ones of 8 and 16 lanes, with and without
# look-ahead, on the Free Spoken Digit Dataset, and compares likelihood, audio and speed on held-out speech.
#   egs/fsdd/wavernn/subscale.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
set -euo pipefail
conf=egs/fsdd/wavernn/conf/subscale.yaml out=exp/fsdd-subscale data=data/fsdd
. "$(dirname "$0")/../../vocoder.sh"

models="1:0 8:8 16:8 8:0" # lanes and horizon

if from 0 "data"; then prepare fsdd; fi

for model in $models; do
  lanes=${model%:*} horizon=${model#*:} dir=$out/${model/:/-}
  if from 1 "training: $lanes lanes, horizon $horizon"; then
    fit "$conf" "$dir" "networks.generator.lanes=$lanes" "networks.generator.horizon=$horizon"
  fi
done

if from 2 "likelihood of the test set"; then
  for model in $models; do seqgen eval "$out/${model/:/-}" --likelihood-only > /dev/null; done
fi

python3 tools/likelihood_table.py $(for model in $models; do echo "$out/${model/:/-}"; done)
