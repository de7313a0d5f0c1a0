#!/usr/bin/env bash
# Total correlation of codes of spoken digits: log-mel pictures of one size, the total correlation of their codes with several
# weights. The mutual information gap says how far digit, speaker and pitch have a number of the code to themselves.
#   egs/fsdd/beta_tcvae/run.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# Without --corpus the public corpus is downloaded. SEEDS, BETAS and RATES (whole stratified weighted) choose the runs, BANDS and
# FRAMES the pictures; conf/base.yaml takes half a minute a run on one core, conf/tiny.yaml (BANDS=8 FRAMES=8) some seconds.
set -euo pipefail
conf=egs/fsdd/beta_tcvae/conf/base.yaml out=exp/fsdd-beta-tcvae data=data/fsdd
. "$(dirname "$0")/../../variants.sh"
pictures=$out/pictures rates=${RATES:-stratified whole}

if from 0 "pictures"; then
  [ -d "$data" ] || seqgen data prepare fsdd --out "$data" ${corpus:+--corpus "$corpus"}
  [ -d "$pictures" ] || { mkdir -p "$out"; python -m egs.fsdd.beta_tcvae.pictures "$data" "$pictures" "${BANDS:-20}" "${FRAMES:-32}"; }
fi
. egs/total_correlation.sh
if from 2 "the most that one number tells of each factor"; then
  python -m egs.fsdd.beta_tcvae.table "${compared[@]}" | tee "$out/table.md"
fi
