#!/usr/bin/env bash
# ACtuAL-style training on sequences of a known process: a generator fitted by likelihood goes on against a discriminator,
# whose judgement a critic foresees; beside it the same generator fitted by likelihood for longer.
#   egs/synthetic/actual/run.sh [--stage N] [--conf FILE] [--out DIR]
# conf/grammar.yaml takes a minute and a half on one core, conf/tiny.yaml some seconds. SEEDS chooses the runs, GRADIENTS how the
# actor's gradient is estimated: all-actions, reinforce, advantage.
set -euo pipefail
conf=egs/synthetic/actual/conf/grammar.yaml out=exp/synthetic-actual data=
. "$(dirname "$0")/../../variants.sh"
likelihood=$(dirname "$conf")/mle-$(basename "$conf")

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
done
