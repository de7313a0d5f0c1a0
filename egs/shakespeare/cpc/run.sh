#!/usr/bin/env bash
# Contrastive predictive coding of sentences: from the lines so far, which of many lines comes next?
#   egs/shakespeare/cpc/run.sh --corpus DIR|FILE [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# The corpus is a text of many lines, or a folder with tinyshakespeare.txt; its last tenth is held out, half for validation, half
# for the test. conf/base.yaml takes five minutes of one core, conf/tiny.yaml some seconds.
set -euo pipefail
conf=egs/shakespeare/cpc/conf/base.yaml out=exp/shakespeare-cpc data=exp/shakespeare-cpc/data
. "$(dirname "$0")/../../variants.sh"
[ ! -d "$corpus" ] || corpus=$corpus/tinyshakespeare.txt

if from 0 "data"; then
  seqgen data prepare text --corpus "$corpus" --out "$data" --tokenizer characters
fi

if from 1 "training and evaluation"; then
  variant . "task.data=$data"
fi
