#!/usr/bin/env bash
# Alignment of one reader's recordings with what she reads: the time of every word and phone, learnt from the recordings
# themselves; written as CTM and TextGrid, those whose transcript does not seem to match listed.
#   DICTIONARY=FILE egs/kathleen/alignment/run.sh --corpus DIR [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# The corpus is a folder of recordings at 24 kHz with metadata.csv (id|text); DICTIONARY is a pronouncing dictionary like
# CMUdict's cmudict.dict, plain, gzipped or packed. PHONES=yes compares with the phones that pocketsphinx aligns, SPLIT says
# what is held out.
# conf/base.yaml takes two minutes of one core, conf/tiny.yaml some seconds.
set -euo pipefail
conf=egs/kathleen/alignment/conf/base.yaml out=exp/kathleen-alignment data=exp/kathleen-alignment/data
. "$(dirname "$0")/../../variants.sh"
dictionary=${DICTIONARY:+$(absolute "$DICTIONARY")}

if from 0 "recordings, and a lexicon"; then
  [ -f "${dictionary:-}" ] || { echo "error: no dictionary at '${dictionary:-}'; give DICTIONARY=FILE" >&2; exit 1; }
  [ -d "$data" ] || seqgen data prepare folder --corpus "$corpus" --out "$data" ${SPLIT:---valid 0.03 --test 0.05}
  mkdir -p "$out"
  seqgen data lexicon "$dictionary" -o "$out/english.lexicon"
fi

if from 1 "training and evaluation"; then
  settings=("task.train=$data/train" "task.valid=$data/valid" "task.test=$data/test" "task.lexicon=$out/english.lexicon")
  if [ -n "${PHONES:-}" ]; then
    [ -f "$out/reference.ctm" ] || seqgen data phones "$data/test" -o "$out/reference.ctm"
    settings+=("task.reference=$out/reference.ctm")
  fi
  variant . "${settings[@]}"
fi

if from 2 "times of words and phones"; then
  for part in train valid test; do seqgen align "$out" "$data/$part" -o "$out/$part"; done
fi
