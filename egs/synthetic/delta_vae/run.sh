#!/usr/bin/env bash
# δ-VAE on sequences with a hidden class: the decoder without a code, an ordinary VAE, free bits, and slow codes by an
# encoder of what is to come and by one of what has been; then a prior that is fitted to the codes of each.
#   egs/synthetic/delta_vae/run.sh [--stage N] [--conf FILE] [--out DIR]
# VARIANTS and SEEDS choose the runs. conf/base.yaml takes two minutes a run on one core, conf/tiny.yaml some seconds.
set -euo pipefail
conf=egs/synthetic/delta_vae/conf/base.yaml out=exp/synthetic-delta-vae data= free=0.65
. "$(dirname "$0")/../../delta_vae.sh"
compared
