#!/usr/bin/env bash
# What does each loss of Parallel WaveNet give? Distils students of one recipe on the Free Spoken Digit Dataset by the divergence
# alone, then with the power, the style and the contrastive loss added one after the other, and compares them on held-out speech.
#   egs/fsdd/parallel_wavenet/ablation.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# TEACHER=exp/... and CLASSIFIER=exp/... are the experiments that run.sh makes, by default under exp/fsdd-parallel-wavenet.
set -euo pipefail
conf=egs/fsdd/parallel_wavenet/conf/small.yaml out=exp/fsdd-parallel-wavenet-ablation data=data/fsdd
. "$(dirname "$0")/../../options.sh"
teacher=${TEACHER:-exp/fsdd-parallel-wavenet/teacher} classifier=${CLASSIFIER:-exp/fsdd-parallel-wavenet/classifier}

students="divergence power power-10 style contrast" # all but power-10 have the losses of those before them, and their own
declare -A without=([divergence]="objective.power.weight=0 objective.style.weight=0 objective.contrast=0"
  [power]="objective.style.weight=0 objective.contrast=0" [style]="objective.contrast=0" [contrast]=""
  [power-10]="objective.power.weight=10 objective.style.weight=0 objective.contrast=0")

if from 0 "data"; then
  seqgen data prepare fsdd --out "$data" ${corpus:+--corpus "$corpus"}
  seqgen data check --quick "$data"/{train,valid,test}
fi

for student in $students; do
  if from 1 "distillation: $student"; then
    resume=$([ -d "$out/$student/checkpoints" ] && echo --resume || true)
    seqgen train "$conf" --out "$out/$student" $resume --set "data.train=$data/train" "data.valid=$data/valid" \
      "data.test=$data/test" "objective.teacher=$teacher" "objective.classifier=$classifier" ${without[$student]}
  fi
done

if from 2 "evaluation of all on the test set"; then
  for student in $students; do seqgen eval "$out/$student" --audio "$out/$student/audio" > /dev/null; done
fi

python3 tools/report_table.py $(for student in $students; do echo "$out/$student"; done)
