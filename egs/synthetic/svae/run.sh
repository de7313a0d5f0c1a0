#!/usr/bin/env bash
# Structured VAEs of two known processes. Points on the five arms of a pinwheel: codes in a mixture of Gaussians that is learnt
# with the networks, against a mixture that is fitted to the codes of a VAE afterwards. Frames of a moving dot: codes that move
# by linear dynamics, learnt by natural and by plain gradients, against those of a VAE; 20 frames are foretold.
#   egs/synthetic/svae/run.sh [--stage N] [--conf FILE] [--out DIR]
# Beside conf/NAME.yaml lies conf/dot-NAME.yaml. base takes half an hour of one core, tiny some seconds. SEEDS chooses the runs.
set -euo pipefail
conf=egs/synthetic/svae/conf/base.yaml out=exp/synthetic-svae data=
. "$(dirname "$0")/../../variants.sh"
dot=$(dirname "$conf")/dot-$(basename "$conf") points=() dots=()

normal() { # NAME DIM SEED: the same networks as a VAE whose prior is standard normal
  variant "$1" train.seed="$3" "networks.model.posterior={name: gaussian, dim: $2}" \
    "networks.model.prior={name: standard-normal, dim: $2}" "players={model: {optimiser: adam, learning_rate: 3e-3}}"
}
for seed in ${SEEDS:-0}; do
  points+=("$out/$seed/mixture" "$out/$seed/vae") dots+=("$out/$seed/dynamics" "$out/$seed/plain" "$out/$seed/dot-vae")
  if from 0 "pinwheel, seed $seed"; then
    variant "$seed/mixture" train.seed="$seed"
    normal "$seed/vae" 2 "$seed"
  fi
  if from 1 "moving dot, seed $seed"; then
    conf=$dot variant "$seed/dynamics" train.seed="$seed"
    conf=$dot variant "$seed/plain" train.seed="$seed" networks.model.prior.natural=false \
      "players.prior={optimiser: adam, learning_rate: ${RATE:-1e-2}}"
    conf=$dot normal "$seed/dot-vae" 4 "$seed"
  fi
done

if from 2 "clusters and predictions"; then
  python tools/report_table.py "${points[@]}" "${dots[@]}"
  python -m egs.synthetic.svae.clusters "$out/clusters" "${points[@]}"
  python -m egs.synthetic.svae.predict "$out/predictions" "${SEEN:-30}" "${dots[@]}"
fi
