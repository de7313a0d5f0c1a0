#!/usr/bin/env bash
# Associative compression of binary digits of 8 x 8 pixels: the pixels' decoder without a code, VAEs of learnt and of unit
# variance, and priors that are told a similar picture's code, or that of any picture.
#   egs/digits/acn/run.sh [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# The digits are scikit-learn's. VARIANTS and SEEDS choose the runs. conf/base.yaml takes two minutes a run on one core,
# conf/tiny.yaml some seconds.
set -euo pipefail
conf=egs/digits/acn/conf/base.yaml out=exp/digits-acn data=exp/digits-acn/data
. "$(dirname "$0")/../../acn.sh"

if from 0 "digits"; then
  [ -d "$data" ] || seqgen data prepare pictures --corpus "${corpus:-digits}" --binarise threshold --out "$data"
fi
compared
