#!/usr/bin/env bash
# What an encoder keeps of characters in a square, each of an alphabet of its own, learnt from pictures of the next characters:
# contrastive coding (cpc), the same with weight decay, and with a critic that is held to a slope of 1 by a penalty (wpc) or
# has layers of spectral norm.
#   egs/omniglot/wasserstein_dependency/run.sh --corpus ARCHIVE [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# ARCHIVE is one of Omniglot (images_background_small2.zip, MIT licence); the largest alphabets go to the cells, of 21 x 21 pixels.
# What is run says egs/wasserstein_dependency.sh: WAYS, CELLS (1 4, square numbers) and SEEDS. conf/base.yaml takes some
# minutes a run on one core, conf/tiny.yaml (BASELINE=50, CELLS=1) some seconds.
set -euo pipefail
conf=egs/omniglot/wasserstein_dependency/conf/base.yaml
out=exp/omniglot-wasserstein-dependency data=exp/omniglot-wasserstein-dependency/data cells="1 4" pixels=441
prepare() {
  seqgen data prepare pictures --corpus "$corpus" --side 21 --invert --stratify --valid "${HELD:-780}" --test "${HELD:-780}" --out "$data"
}
. "$(dirname "$0")/../../wasserstein_dependency.sh"
