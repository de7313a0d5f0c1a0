#!/usr/bin/env bash
# Acoustic model of one reader: how long, how high and how loud her phones are, and what they sound like, learnt from recordings
# that are aligned first; then three sentences, their sound by Griffin and Lim, or by VOCODER, the bundle of one.
#   DICTIONARY=FILE egs/kathleen/acoustic/run.sh --corpus DIR [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# Corpus and DICTIONARY are those of egs/kathleen/alignment, which is run first into OUT/alignment, unless ALIGNED is what it
# left elsewhere. Beside `conf` lies prosody-NAME. conf/base.yaml takes half an hour of one core, conf/tiny.yaml some seconds.
# TEMPERATURE (0) is that of the sentences. G2P, a run or bundle of egs/cmudict/g2p, reads words that DICTIONARY does not have.
set -euo pipefail
conf=egs/kathleen/acoustic/conf/base.yaml out=exp/kathleen-acoustic data=exp/kathleen-acoustic/data
. "$(dirname "$0")/../../variants.sh"
manner=$(dirname "$conf")/prosody-$(basename "$conf") aligned=$(absolute "${ALIGNED:-$out/alignment}")

if from 0 "alignment" && [ -z "${ALIGNED:-}" ]; then
  egs/kathleen/alignment/run.sh --corpus "$corpus" --out "$aligned" --data "$data" --conf "egs/kathleen/alignment/conf/$(basename "$conf")"
fi

shared=("task.train=$data/train" "task.valid=$data/valid" "task.test=$data/test" "task.times=$aligned")
if from 1 "prosody"; then conf=$manner variant prosody "${shared[@]}"; fi
if from 2 "frames"; then
  variant frames "${shared[@]}" "task.prosody=$out/prosody" "task.lexicon=$aligned/english.lexicon" ${VOCODER:+"task.vocoder=$(absolute "$VOCODER")"} \
    ${G2P:+"task.g2p=$(absolute "$G2P")"}
fi

if from 3 "sentences"; then
  number=0
  while read -r sentence; do
    number=$((number + 1))
    seqgen sample "$out/frames" --prompt "$sentence" --temperature "${TEMPERATURE:-0}" -o "$out/$number.wav"
  done <<'SENTENCES'
The quick brown fox jumps over the lazy dog.
On April 9th, Dr. Lee paid 5.30 dollars for 2 kg of apples.
Does every word have its sound, and none of them twice?
SENTENCES
fi
