#!/usr/bin/env bash
# ACtuAL-style training on sequences of a known process: a generator fitted by likelihood goes on against a discriminator,
# whose judgement a critic foresees; beside it the same generator fitted by likelihood for longer, at several temperatures.
#   egs/synthetic/actual/run.sh [--stage N] [--conf FILE] [--out DIR]
# conf/grammar.yaml takes some minutes on one core, conf/tiny.yaml some seconds. SEEDS chooses the runs, GRADIENTS how the
# actor's gradient is estimated: all-actions, reinforce, advantage; TEMPERATURES those of the last stage.
set -euo pipefail
conf=egs/synthetic/actual/conf/grammar.yaml out=exp/synthetic-actual data=
. "$(dirname "$0")/../../variants.sh"
likelihood=$(dirname "$conf")/mle-$(basename "$conf")

swept=()
for seed in ${SEEDS:-0}; do
  begun="networks.generator={name: pretrained, experiment: $out/$seed/mle, frozen: false}"
  if from 0 "maximum likelihood, seed $seed"; then conf=$likelihood variant "$seed/mle" train.seed="$seed"; fi
  if from 1 "maximum likelihood for longer"; then conf=$likelihood variant "$seed/longer" "$begun" train.seed="$seed"; fi
  compared=("$out/$seed/mle" "$out/$seed/longer")
  for gradient in ${GRADIENTS:-all-actions}; do
    compared+=("$out/$seed/$gradient")
    if from 2 "adversarial training, $gradient"; then
      variant "$seed/$gradient" "$begun" objective.gradient="$gradient" train.seed="$seed"
    fi
  done
  python tools/report_table.py "${compared[@]}"
  swept+=("$out/$seed/longer" "$out/$seed/all-actions")
done

if from 3 "temperatures"; then
  python tools/temperature_sweep.py "${swept[@]}" --temperatures ${TEMPERATURES:-0.7 0.8 0.85 0.9 0.95 1 1.05} \
    --out "$out/temperatures" --figures exact_entropy exact_oracle_nll exact_kl_generator_process \
    exact_kl_process_generator duplicates duplicates_process
fi
