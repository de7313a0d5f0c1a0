#!/usr/bin/env bash
# What an encoder keeps of digits side by side, learnt from pictures of the next digits: contrastive coding (cpc), the same
# with weight decay, and with a critic that is held to a slope of 1 by a penalty (wpc) or has layers of spectral norm.
#   egs/digits/wasserstein_dependency/run.sh [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# The digits are scikit-learn's. WAYS (cpc wpc wpc-spectral cpc-decay), DIGITS (1 2 4 6) and SEEDS choose the runs, WEIGHT is
# that of the penalty. The runs of cpc are evaluated beside the pixels and an encoder that learns the labels in BASELINE
# steps. conf/base.yaml takes one to three minutes a run on one core, conf/tiny.yaml (BASELINE=50) some seconds.
set -euo pipefail
conf=egs/digits/wasserstein_dependency/conf/base.yaml
out=exp/digits-wasserstein-dependency data=exp/digits-wasserstein-dependency/data
. "$(dirname "$0")/../../variants.sh"
declare -A ways=(
  [cpc]="task.probe.baseline_steps=${BASELINE:-3000}"
  [cpc-decay]="players.critic.optimiser={name: adamw, weight_decay: ${DECAY:-0.1}}"
  [wpc]="objective.lipschitz={weight: ${WEIGHT:-1.0}}"
  [wpc-spectral]="networks.critic.spectral_norm=true"
)

if from 0 "digits"; then
  [ -d "$data" ] || seqgen data prepare pictures --corpus "${corpus:-digits}" --train 1197 --valid 200 --test 400 --out "$data"
fi
for digits in ${DIGITS:-1 6}; do
  runs=() baselines=() width=$((64 * digits))
  for way in ${WAYS:-cpc wpc}; do for seed in ${SEEDS:-0 1 2}; do
    runs+=("$out/$digits-$way-$seed")
    [ "$way" != cpc ] || baselines+=("$out/$digits-$way-$seed")
    from 1 "$digits digits, $way, seed $seed" || continue
    variant "$digits-$way-$seed" task.pictures="$data" task.cells.count="$digits" networks.critic.x_dim="$width" \
      networks.critic.y_dim="$width" train.seed="$seed" "${ways[$way]}"
  done; done
  if from 2 "probes, $digits digits"; then
    python tools/seeds_table.py "${runs[@]}" --figures probe_mean probe_least information | tee "$out/seeds-$digits.md"
    [ -z "${baselines[*]}" ] || python tools/seeds_table.py "${baselines[@]}" \
      --figures pixels_mean pixels_least supervised_mean supervised_least | tee "$out/baselines-$digits.md"
  fi
done
