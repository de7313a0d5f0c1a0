#!/usr/bin/env bash
# Character language models: a gated recurrent network on plain text, in bits per character; conf/transformer.yaml has a
# Transformer of as many parameters instead, conf/small.yaml a third of them.
#   egs/shakespeare/charrnn/run.sh --corpus DIR|FILE [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# The corpus is a UTF-8 text, or a folder with tinyshakespeare.txt; its last tenth is held out, half for validation, half
# for the test. conf/tiny.yaml takes some seconds.
set -euo pipefail
conf=egs/shakespeare/charrnn/conf/base.yaml out=exp/shakespeare-charrnn data=exp/shakespeare-charrnn/data
. "$(dirname "$0")/../../variants.sh"
text=$corpus; [ ! -d "$corpus" ] || text=$corpus/tinyshakespeare.txt

if from 0 "data"; then
  seqgen data prepare text --corpus "$text" --out "$data" --tokenizer characters
fi

if from 1 "training and evaluation"; then
  variant . "task.data=$data"
fi

if from 2 "a sample"; then
  seqgen sample "$out" --prompt "ROMEO:" --length 300 --temperature 0.8
fi
