#!/usr/bin/env bash
# What an encoder keeps of digits side by side, learnt from pictures of the next digits: contrastive coding (cpc), the same
# with weight decay, and with a critic that is held to a slope of 1 by a penalty (wpc) or has layers of spectral norm.
#   egs/digits/wasserstein_dependency/run.sh [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# The digits are scikit-learn's. What is run says egs/wasserstein_dependency.sh: WAYS, CELLS (1 2 4 6, digits of a picture) and
# SEEDS. conf/base.yaml takes one to three minutes a run on one core, conf/tiny.yaml (BASELINE=50) some seconds.
set -euo pipefail
conf=egs/digits/wasserstein_dependency/conf/base.yaml
out=exp/digits-wasserstein-dependency data=exp/digits-wasserstein-dependency/data cells="1 6" pixels=64
prepare() { seqgen data prepare pictures --corpus "${corpus:-digits}" --train 1197 --valid 200 --test 400 --out "$data"; }
. "$(dirname "$0")/../../wasserstein_dependency.sh"
