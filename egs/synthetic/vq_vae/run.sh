#!/usr/bin/env bash
# VQ-VAE on sequences with a hidden class, whose decoder could do without a code: an ordinary VAE with that decoder, and
# codebooks of several sizes; then a prior that is fitted to the codes of each.
#   egs/synthetic/vq_vae/run.sh [--stage N] [--conf FILE] [--out DIR]
# CLASSES (4 8 16 32) and SEEDS choose the runs. conf/base.yaml takes a minute or two a run on one core, conf/tiny.yaml
# some seconds.
set -euo pipefail
conf=egs/synthetic/vq_vae/conf/base.yaml out=exp/synthetic-vq-vae data=
. "$(dirname "$0")/../../vq_vae.sh"
gaussian="networks.model.posterior={name: gaussian, dim: $dim}|networks.model.prior={name: standard-normal, dim: $dim}"
: "${CLASSES=4 8 16 32}"
compared
