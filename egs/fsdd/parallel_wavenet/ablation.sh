#!/usr/bin/env bash
# What does each loss of Parallel WaveNet give? Distils students of one recipe on the Free Spoken Digit Dataset by the divergence
# alone, then with the power, the style and the contrastive loss added one after the other, and compares them on held-out speech.
#   egs/fsdd/parallel_wavenet/ablation.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# TEACHER=exp/... and CLASSIFIER=exp/... are the experiments that run.sh makes, by default under exp/fsdd-parallel-wavenet.
set -euo pipefail
conf=egs/fsdd/parallel_wavenet/conf/small.yaml out=exp/fsdd-parallel-wavenet-ablation data=data/fsdd
. "$(dirname "$0")/../../vocoder.sh"
teacher=${TEACHER:-exp/fsdd-parallel-wavenet/teacher} classifier=${CLASSIFIER:-exp/fsdd-parallel-wavenet/classifier}

students="divergence power power-10 style contrast" # all but power-10 have the losses of those before them, and their own
weights() { echo "objective.power.weight=$1 objective.style.weight=$2 objective.contrast=$3"; }
declare -A losses=([divergence]=$(weights 0 0 0) [power]=$(weights 1 0 0) [power-10]=$(weights 10 0 0)
  [style]=$(weights 1 0.1 0) [contrast]=$(weights 1 0.1 0.3))

if from 0 "data"; then prepare fsdd; fi

for student in $students; do
  if from 1 "distillation: $student"; then
    fit "$conf" "$out/$student" "networks.teacher.experiment=$teacher" "networks.classifier.experiment=$classifier" ${losses[$student]} \
      train.steps=800 train.ema=0.99
  fi
done

if from 2 "evaluation of all on the test set"; then
  for student in $students; do seqgen eval "$out/$student" --audio "$out/$student/audio" > /dev/null; done
fi

python3 tools/report_table.py $(for student in $students; do echo "$out/$student"; done)
