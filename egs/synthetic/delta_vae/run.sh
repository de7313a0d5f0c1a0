#!/usr/bin/env bash
# δ-VAE on sequences with a hidden class: the decoder without a code, an ordinary VAE, free bits, and slow codes by an
# encoder of what is to come and by one of what has been; then a prior that is fitted to the codes of each.
#   egs/synthetic/delta_vae/run.sh [--stage N] [--conf FILE] [--out DIR]
# VARIANTS and SEEDS choose the runs. conf/base.yaml takes three minutes a run on one core, conf/tiny.yaml some seconds.
set -euo pipefail
conf=egs/synthetic/delta_vae/conf/base.yaml out=exp/synthetic-delta-vae data=
. "$(dirname "$0")/../../variants.sh"
alone=$(dirname "$conf")/decoder-$(basename "$conf")
plain="networks.model.prior={name: standard-normal, dim: 2}"
declare -A variants=(
  [vae]="$plain"
  [free-bits]="$plain|objective.rate={name: free-bits, nats: 0.65}"
  [delta]=
  [delta-causal]="networks.model.encoder.direction=causal"
)

for seed in ${SEEDS:-0}; do
  if from 0 "the decoder alone, seed $seed"; then conf=$alone variant "$seed/decoder" "train.seed=$seed"; fi
  for name in ${VARIANTS:-vae free-bits delta delta-causal}; do
    IFS='|' read -ra settings <<< "${variants[$name]}"
    if from 1 "$name, seed $seed"; then variant "$seed/$name" "train.seed=$seed" "${settings[@]}"; fi
    if from 2 "a prior fitted to the codes of $name, seed $seed"; then
      prior="{name: recurrent-mixture, dim: 2, components: 8, hidden: 64}"
      model="{name: pretrained, experiment: $out/$seed/$name, frozen: false, replaced: {prior: $prior}}"
      variant "$seed/$name-fitted" "train.seed=$seed" "networks.model=$model" \
        "objective={name: code-prior}" "players={prior: {optimiser: adam, learning_rate: 4e-3}}"
    fi
  done
done
if from 3 "table"; then
  python -m egs.rates "$out" | tee "$out/table.md"
fi
