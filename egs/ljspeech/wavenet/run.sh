#!/usr/bin/env bash
# WaveNet on LJSpeech: one reader, 24 hours, 22.05 kHz, conditioned on log-mel frames.
#   egs/ljspeech/wavenet/run.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# Without --corpus the public corpus is downloaded. conf/base.yaml is the real run, conf/tiny.yaml takes a minute.
set -euo pipefail
conf=egs/ljspeech/wavenet/conf/base.yaml out=exp/ljspeech-wavenet data=data/ljspeech
. "$(dirname "$0")/../../options.sh"

if from 0 "data"; then
  seqgen data prepare ljspeech --out "$data" ${corpus:+--corpus "$corpus"}
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
  seqgen-serve vocode "$reference" -o "$out/streamed.wav" --voice "$out/voice"
  seqgen bench "$out/voice"
  seqgen bench "$out/voice-int8"
fi
