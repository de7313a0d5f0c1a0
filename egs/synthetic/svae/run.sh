#!/usr/bin/env bash
# Structured VAEs of two known processes. Points on the five arms of a pinwheel: codes in a mixture of Gaussians that is learnt
# with the networks, against a mixture that is fitted to the codes of a VAE afterwards. Frames of a moving dot: codes that move
# by linear dynamics, learnt by natural and by plain gradients, against those of a VAE; 20 frames are foretold.
#   egs/synthetic/svae/run.sh [--stage N] [--conf FILE] [--out DIR]
# Beside conf/NAME.yaml lies conf/dot-NAME.yaml. base takes half an hour of one core, tiny (SEEN=6) some seconds. SEEDS and RUNS
# (mixture vae dynamics plain dot-vae) choose the runs, SEEN how many frames are shown of 50.
set -euo pipefail
conf=egs/synthetic/svae/conf/base.yaml out=exp/synthetic-svae data=
. "$(dirname "$0")/../../variants.sh"
dot=$(dirname "$conf")/dot-$(basename "$conf") points=() dots=()

# The same networks as a VAE whose prior is standard normal.
normal=("networks.model.posterior={name: gaussian, dim: DIM}" "networks.model.prior={name: standard-normal, dim: DIM}"
  "players={model: {optimiser: adam, learning_rate: 3e-3}}")
run() { # NAME SEED: train one of the runs
  local settings=()
  case $1 in
    vae) settings=("${normal[@]//DIM/2}") ;;
    dot-vae) settings=("${normal[@]//DIM/4}") ;;
    plain) settings=(networks.model.prior.natural=false "players.prior={optimiser: adam, learning_rate: ${RATE:-1e-2}}") ;;
  esac
  case $1 in mixture | vae) ;; *) local conf=$dot ;; esac
  variant "$2/$1" train.seed="$2" "${settings[@]}"
}
for seed in ${SEEDS:-0}; do for name in ${RUNS:-mixture vae dynamics plain dot-vae}; do
  case $name in mixture | vae) points+=("$out/$seed/$name") ;; *) dots+=("$out/$seed/$name") ;; esac
  if from 0 "$name, seed $seed"; then run "$name" "$seed"; fi
done; done

if from 1 "clusters and predictions"; then
  python tools/report_table.py "${points[@]}" "${dots[@]}"
  [ ${#points[@]} = 0 ] || python -m egs.synthetic.svae.clusters "$out/clusters" "${points[@]}"
  [ ${#dots[@]} = 0 ] || python -m egs.synthetic.svae.predict "$out/predictions" "${SEEN:-30}" "${dots[@]}"
fi
