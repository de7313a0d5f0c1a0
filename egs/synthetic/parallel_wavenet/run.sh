#!/usr/bin/env bash
# Parallel WaveNet distilled from a teacher whose density is known: what students reach, against what can be reached.
#   egs/synthetic/parallel_wavenet/run.sh [--stage N] [--conf FILE] [--out DIR]
# conf/full.yaml takes some minutes on one core, conf/tiny.yaml one.
set -euo pipefail
conf=egs/synthetic/parallel_wavenet/conf/full.yaml out=exp/synthetic-parallel-wavenet data=
. "$(dirname "$0")/../../variants.sh"
flow=networks.generator.flow teacher=networks.teacher
short="$flow.layers=[4] $flow.scale=0.25" # one flow: 16 samples of noise before its own

if from 0 "training and evaluation"; then
  variant full
  variant one-draw objective.samples=1 task.passes=16
  variant independent $flow=independent
  variant short $short
  variant short-power $short objective.power.weight=10
  variant untrained train.steps=1 train.warmup=0 train.learning_rate=1e-9
fi

if from 1 "the students, beside what is known"; then
  python tools/report_table.py --digits 4 "$out"/{untrained,full,one-draw,independent,short,short-power}
fi

if from 2 "generation: the student at once, its teacher and a WaveNet of its depth step by step"; then
  python tools/generation_speed.py "$conf" --elements "${ELEMENTS:-4096}" --report "$out/generation.json"
  python tools/generation_speed.py "$conf" --elements "${ELEMENTS:-4096}" --report "$out/stepped.json" --set "$teacher.conditioner={name: perceptron, hidden: []}" \
    "$teacher.body={name: wavenet, layers: 12, dilation_cycle: 6, residual_channels: 24, gate_channels: 24, skip_channels: 24, head_channels: 24, vocab_size: 0, outputs: 6}"
fi
