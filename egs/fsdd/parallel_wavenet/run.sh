#!/usr/bin/env bash
# Parallel WaveNet on the Free Spoken Digit Dataset: a flow learns to make all samples at once, judged by a WaveNet and
# heard by a network that knows digits.
#   egs/fsdd/parallel_wavenet/run.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# Without --corpus the public corpus is downloaded. conf/base.yaml is the real run, conf/tiny.yaml takes a minute. The
# teacher is trained as egs/fsdd/wavenet/conf/ says under the same name; TEACHER=exp/... takes one that is there.
set -euo pipefail
conf=egs/fsdd/parallel_wavenet/conf/base.yaml out=exp/fsdd-parallel-wavenet data=data/fsdd
. "$(dirname "$0")/../../options.sh"
teacher=${TEACHER:-$out/teacher} name=$(basename "$conf")
sets=("data.train=$data/train" "data.valid=$data/valid" "data.test=$data/test")
fit() { seqgen train "$1" --out "$2" $([ -d "$2/checkpoints" ] && echo --resume || true) --set "${sets[@]}" "${@:3}"; }

if from 0 "data"; then
  seqgen data prepare fsdd --out "$data" ${corpus:+--corpus "$corpus"}; seqgen data check --quick "$data"/{train,valid,test}
fi

if from 1 "teacher and classifier"; then
  [ -n "${TEACHER:-}" ] || fit "egs/fsdd/wavenet/conf/$name" "$teacher"
  fit "egs/fsdd/parallel_wavenet/conf/classifier-$name" "$out/classifier"
fi

if from 2 "distillation"; then
  fit "$conf" "$out" "objective.teacher=$teacher" "objective.classifier=$out/classifier"
fi

if from 3 "evaluation of teacher and student on the test set, export"; then
  seqgen eval "$teacher" --report "$out/teacher.json" --audio "$out/teacher-audio"
  seqgen eval "$out" --audio "$out/audio"
  seqgen export "$out" --out "$out/voice"; seqgen export "$out" --out "$out/voice-int8" --quantise int8
  seqgen eval "$out/voice-int8" --data "$data/test" --likelihood-only
fi

if from 4 "a held-out recording through the streaming voice, without torch; a picture"; then
  recordings=("$out"/audio/*.reference.wav) reference=${recordings[0]}
  seqgen-serve vocode "$reference" -o "$out/streamed.wav" --voice "$out/voice" --speaker "$(basename "$reference" | cut -d- -f1)"
  python -m seqgen.metrics.picture "$out/spectrograms.png" recording="$reference" student="$out/streamed.wav" \
    teacher="$out/teacher-audio/$(basename "$reference" .reference.wav).vocoded.wav"
  seqgen bench "$out/voice" --compare
fi
