#!/usr/bin/env bash
# δ-VAE on plain text: ByteNet as the decoder with slow codes of what is to come, the decoder without a code, an ordinary VAE
# and free bits; then a prior that is fitted to the codes of each.
#   egs/shakespeare/delta_vae/run.sh --corpus DIR|FILE [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# The corpus is a UTF-8 text, or a folder with tinyshakespeare.txt. VARIANTS and SEEDS choose the runs. conf/base.yaml takes
# five minutes a run on one core, conf/tiny.yaml some seconds.
set -euo pipefail
conf=egs/shakespeare/delta_vae/conf/base.yaml out=exp/shakespeare-delta-vae data=exp/shakespeare-delta-vae/data
free=0.9
. "$(dirname "$0")/../../delta_vae.sh"
[ ! -d "$corpus" ] || corpus=$corpus/tinyshakespeare.txt

if from 0 "data"; then
  [ -d "$data" ] || seqgen data prepare text --corpus "$corpus" --out "$data" --tokenizer characters
fi
compared "task.data=$data"
