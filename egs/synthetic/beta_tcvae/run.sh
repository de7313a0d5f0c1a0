#!/usr/bin/env bash
# Total correlation: codes of discs whose column, row and size are known, by the whole rate with a weight (beta-VAE) and by
# the total correlation with that weight (beta-TCVAE). The mutual information gap says how far each factor has a number
# of the code to itself.
#   egs/synthetic/beta_tcvae/run.sh [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# SEEDS, BETAS and RATES (whole stratified weighted) choose the runs, SIDE and SIZES the discs; conf/base.yaml takes half a
# minute a run on one core, conf/tiny.yaml (SIDE=8 SIZES=2) some seconds.
set -euo pipefail
conf=egs/synthetic/beta_tcvae/conf/base.yaml out=exp/synthetic-beta-tcvae data=exp/synthetic-beta-tcvae/data
. "$(dirname "$0")/../../variants.sh"

if from 0 "discs"; then
  [ -d "$data" ] || python -m egs.synthetic.beta_tcvae.discs "$data" "${SIDE:-16}" "${SIZES:-4}"
fi
pictures=$data rates=${RATES:-whole stratified weighted}
. egs/total_correlation.sh
