#!/usr/bin/env bash
# A voice that speaks, of one reader: recordings are aligned with what she reads, a vocoder learns her sound, an acoustic model
# her prosody and what phones sound like; then three sentences, and all of it as one bundle, which speaks without torch.
#   DICTIONARY=FILE [G2P=PATH] egs/kathleen/tts/run.sh --corpus DIR [--stage N] [--conf base|tiny] [--out DIR] [--data DIR]
# Corpus and DICTIONARY are those of egs/kathleen/alignment. G2P, a run or bundle of egs/cmudict/g2p, becomes part of the voice
# and reads words that DICTIONARY does not have; without it they are spelt. --stage N begins with the Nth; trainings that were
# stopped go on. base takes two hours of one core, tiny a minute on few recordings.
set -euo pipefail
conf=base out=exp/kathleen-tts data=exp/kathleen-tts/data
. "$(dirname "$0")/../../options.sh"
stage() { # RECIPE: run it on the same recordings, into its folder
  "egs/kathleen/$1/run.sh" --corpus "$corpus" --data "$data" --out "$out/$1" --conf "egs/kathleen/$1/conf/$(basename "$conf" .yaml).yaml"
}

if from 0 "alignment"; then stage alignment; fi
if from 1 "vocoder"; then stage vocoder; fi
if from 2 "acoustic model, and sentences"; then
  ALIGNED=$out/alignment VOCODER=$out/vocoder/voice-int8 G2P=${G2P:+$(absolute "$G2P")} stage acoustic
fi
if from 3 "one bundle that speaks"; then
  seqgen export "$out/acoustic/frames" --out "$out/voice" --quantise int8
  seqgen-serve say "It speaks, sentence by sentence. Does it?" -o "$out/said.wav" --voice "$out/voice"
fi
