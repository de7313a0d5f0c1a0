#!/usr/bin/env bash
# Grapheme to phoneme: from the spelling of a word to its pronunciation, learnt from the CMU Pronouncing Dictionary.
#   egs/cmudict/g2p/run.sh --corpus DIR|FILE [--stage N] [--conf FILE] [--out DIR]
# The corpus is the dictionary, plain or gzipped, or a folder with cmudict.dict.gz. A twentieth of the words is held out
# for validation and for the test each, with all of their pronunciations. conf/base.yaml takes 20 minutes on one core,
# conf/tiny.yaml some seconds.
set -euo pipefail
conf=egs/cmudict/g2p/conf/base.yaml out=exp/cmudict-g2p data=exp/cmudict-g2p/data
. "$(dirname "$0")/../../variants.sh"
dictionary=$corpus; [ ! -d "$corpus" ] || dictionary=$corpus/cmudict.dict.gz

if from 0 "pairs"; then
  [ -f "$dictionary" ] || { echo "error: no dictionary at '$dictionary'; give --corpus FILE" >&2; exit 1; }
  mkdir -p "$out"
  python -m egs.cmudict.g2p.dictionary "$dictionary" > "$out/pairs.tsv"
  seqgen data prepare pairs --corpus "$out/pairs.tsv" --out "$data" --target-tokenizer phonemes
fi

if from 1 "training and evaluation"; then
  variant . "task.data=$data"
fi

if from 2 "words that no dictionary has"; then
  printf '%s\n' blickers thorny unfathomed zorgle | seqgen translate "$out"
fi
