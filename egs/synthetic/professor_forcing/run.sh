#!/usr/bin/env bash
# Professor forcing on nested brackets: errors of samples that go on for eight times as long as what was learnt from, and
# how well a fresh probe tells free running from teacher forcing. A generator fitted by likelihood has as many updates
# again by likelihood, by scheduled sampling and against a discriminator.
#   egs/synthetic/professor_forcing/run.sh [--stage N] [--conf FILE] [--out DIR]
# conf/base.yaml takes some five minutes a seed on one core, conf/tiny.yaml some seconds. SEEDS chooses the runs.
set -euo pipefail
conf=egs/synthetic/professor_forcing/conf/base.yaml out=exp/synthetic-professor-forcing data=
. "$(dirname "$0")/../../variants.sh"
likelihood=$(dirname "$conf")/likelihood-$(basename "$conf") updates=${UPDATES:-1000}
rate="players.generator={optimiser: adam, learning_rate: 1e-3}"
schedule="objective={name: scheduled-sampling, decay: ${DECAY:-1e-3}, floor: 0.5}"

for seed in ${SEEDS:-0}; do
  begun="networks.generator={name: pretrained, experiment: $out/$seed/likelihood, frozen: false}"
  if from 0 "likelihood, seed $seed"; then conf=$likelihood variant "$seed/likelihood" train.seed="$seed"; fi
  if from 1 "as many updates again: likelihood, scheduled sampling, professor forcing"; then
    conf=$likelihood variant "$seed/longer" "$begun" "$rate" train.steps="$updates" train.seed="$seed"
    conf=$likelihood variant "$seed/scheduled" "$begun" "$rate" "$schedule" train.steps="$updates" train.seed="$seed"
    variant "$seed/professor" "$begun" train.seed="$seed"
  fi
  python tools/report_table.py --digits 2 "$out/$seed"/{likelihood,longer,scheduled,professor}
  if from 2 "a picture of hidden states"; then
    python tools/hidden_states.py --out "$out/$seed/states.png" --rows "${ROWS:-1536}" "$out/$seed"/{likelihood,scheduled,professor}
  fi
done
