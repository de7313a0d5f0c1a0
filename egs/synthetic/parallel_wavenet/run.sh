#!/usr/bin/env bash
# Parallel WaveNet distilled from a teacher whose density is known: what students reach, against what can be reached.
#   egs/synthetic/parallel_wavenet/run.sh [--conf FILE] [--out DIR]
# full.yaml takes four minutes on one core, tiny.yaml half a one.
set -euo pipefail
conf=egs/synthetic/parallel_wavenet/full.yaml out=exp/synthetic-parallel-wavenet data=
. "$(dirname "$0")/../../options.sh"

python -m egs.synthetic.parallel_wavenet.experiment "$conf" --out "$out"
