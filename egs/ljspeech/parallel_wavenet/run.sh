#!/usr/bin/env bash
# Parallel WaveNet on LJSpeech: one reader, 24 hours, 22.05 kHz. A WaveNet is trained; then a flow learns to make all
# samples at once, judged by it.
#   egs/ljspeech/parallel_wavenet/run.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# Without --corpus the public corpus is downloaded. conf/base.yaml is the real run, conf/tiny.yaml takes a minute. The
# teacher is trained as egs/ljspeech/wavenet/conf/ says under the same name; TEACHER=exp/... takes one that is there.
set -euo pipefail
conf=egs/ljspeech/parallel_wavenet/conf/base.yaml out=exp/ljspeech-parallel-wavenet data=data/ljspeech
. "$(dirname "$0")/../../options.sh"
teacher=${TEACHER:-$out/teacher}
sets=("data.train=$data/train" "data.valid=$data/valid" "data.test=$data/test")
fit() { seqgen train "$1" --out "$2" $([ -d "$2/checkpoints" ] && echo --resume || true) --set "${sets[@]}" "${@:3}"; }

if from 0 "data"; then
  seqgen data prepare ljspeech --out "$data" ${corpus:+--corpus "$corpus"}
  seqgen data check --quick "$data"/{train,valid,test}
fi

if from 1 "teacher"; then
  [ -n "${TEACHER:-}" ] || fit "egs/ljspeech/wavenet/conf/$(basename "$conf")" "$teacher"
fi

if from 2 "distillation"; then
  fit "$conf" "$out" "objective.teacher=$teacher"
fi

if from 3 "evaluation on the test set, export"; then  # the teacher's: egs/ljspeech/wavenet/run.sh --stage 2 --out TEACHER
  seqgen eval "$out" --audio "$out/audio"
  seqgen export "$out" --out "$out/voice"
fi

if from 4 "a held-out recording through the streaming voice, without torch"; then
  recordings=("$out"/audio/*.reference.wav) reference=${recordings[0]}
  seqgen-serve vocode "$reference" -o "$out/streamed.wav" --voice "$out/voice"
  seqgen bench "$out/voice" --compare
fi
