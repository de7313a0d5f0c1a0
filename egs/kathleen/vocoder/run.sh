#!/usr/bin/env bash
# Vocoder of one reader at 24 kHz: one recurrence for four bands of what linear prediction leaves, given log-mel frames and their
# pitch; evaluated, exported with weights of 8 bits, and streamed. conf/wavernn.yaml is a WaveRNN over every sample instead.
#   egs/kathleen/vocoder/run.sh --corpus DIR [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# The corpus is a folder of recordings with metadata.csv (id|text); SPLIT says what is held out. conf/base.yaml takes an
# hour of one core, conf/tiny.yaml some seconds.
set -euo pipefail
conf=egs/kathleen/vocoder/conf/base.yaml out=exp/kathleen-vocoder data=exp/kathleen-vocoder/data
. "$(dirname "$0")/../../vocoder.sh"

prepare() {
  [ -d "$data" ] || seqgen data prepare folder --corpus "$corpus" --out "$data" ${SPLIT:---valid 0.03 --test 0.05}
  seqgen data check --quick "$data"/{train,valid,test}
}

vocoder folder formats="float32 int8" scored="float32 int8"
