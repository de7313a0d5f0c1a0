#!/usr/bin/env bash
# WaveNet on the Free Spoken Digit Dataset: six speakers, 8 kHz, conditioned on log-mel frames and the speaker.
#   egs/fsdd/wavenet/run.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# Without --corpus the public corpus is downloaded. conf/base.yaml is the real run, conf/tiny.yaml takes a minute.
set -euo pipefail
conf=egs/fsdd/wavenet/conf/base.yaml out=exp/fsdd-wavenet data=data/fsdd
. "$(dirname "$0")/../../options.sh"

if from 0 "data"; then
  seqgen data prepare fsdd --out "$data" ${corpus:+--corpus "$corpus"}
  seqgen data check --quick "$data"/{train,valid,test}
  seqgen data stats "$data"/{train,valid,test}
fi

if from 1 "training"; then
  resume=$([ -d "$out/checkpoints" ] && echo --resume || true)
  seqgen train "$conf" --out "$out" $resume --set "data.train=$data/train" "data.valid=$data/valid" "data.test=$data/test"
fi

if from 2 "evaluation on the test set"; then
  seqgen eval "$out" --audio "$out/audio"
fi

if from 3 "export"; then
  seqgen export "$out" --out "$out/voice"
  seqgen export "$out" --out "$out/voice-int8" --quantise int8
fi

if from 4 "a held-out recording through the streaming voice, without torch"; then
  recordings=("$out"/audio/*.reference.wav) reference=${recordings[0]}
  seqgen-serve vocode "$reference" -o "$out/streamed.wav" --voice "$out/voice" --speaker "$(basename "$reference" | cut -d- -f1)"
  seqgen bench "$out/voice"
  seqgen bench "$out/voice-int8"
fi
