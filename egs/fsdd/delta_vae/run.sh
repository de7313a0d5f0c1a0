#!/usr/bin/env bash
# δ-VAE of the waveforms of spoken digits: a WaveNet with slow codes, an ordinary VAE and free bits; then a prior that is fitted
# to the codes of each. The ordinary one's decoder does without its codes: it is what the others are to be compared with.
#   egs/fsdd/delta_vae/run.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# Without --corpus the public corpus is downloaded. VARIANTS and SEEDS choose the runs. conf/base.yaml takes ten minutes a run on
# one core, conf/tiny.yaml some seconds.
set -euo pipefail
conf=egs/fsdd/delta_vae/conf/base.yaml out=exp/fsdd-delta-vae data=data/fsdd
free=0.9 VARIANTS=${VARIANTS:-vae free-bits delta}
. "$(dirname "$0")/../../delta_vae.sh"

if from 0 "data"; then
  [ -d "$data" ] || seqgen data prepare fsdd --out "$data" ${corpus:+--corpus "$corpus"}
fi
compared "task.train=$data/train" "task.valid=$data/valid" "task.test=$data/test"
