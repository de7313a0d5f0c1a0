#!/usr/bin/env bash
# Professor forcing on nested brackets: errors of samples that go on for eight times as long as what was learnt from, and
# how well a fresh probe tells free running from teacher forcing. A generator fitted by likelihood has as many updates
# again by likelihood (longer), by scheduled sampling and against a discriminator.
#   egs/synthetic/professor_forcing/run.sh [--stage N] [--conf FILE] [--out DIR]
# conf/base.yaml takes some three minutes a seed on one core, conf/tiny.yaml some seconds. SEEDS chooses the runs, METHODS
# what goes on: longer, scheduled, professor.
set -euo pipefail
conf=egs/synthetic/professor_forcing/conf/base.yaml out=exp/synthetic-professor-forcing data=
. "$(dirname "$0")/../../variants.sh"
likelihood=$(dirname "$conf")/likelihood-$(basename "$conf")
more=("players.generator={optimiser: adam, learning_rate: 1e-3}" "train.steps=${UPDATES:-500}")
schedule="objective={name: scheduled-sampling, decay: ${DECAY:-2e-3}, floor: 0.5}"

for seed in ${SEEDS:-0}; do
  begun="networks.generator={name: pretrained, experiment: $out/$seed/likelihood, frozen: false}"
  compared=("$out/$seed/likelihood")
  if from 0 "likelihood, seed $seed"; then conf=$likelihood variant "$seed/likelihood" train.seed="$seed"; fi
  for method in ${METHODS:-longer scheduled professor}; do
    compared+=("$out/$seed/$method")
    from 1 "as many updates again: $method" || continue
    case $method in
      longer) conf=$likelihood variant "$seed/longer" "$begun" "${more[@]}" train.seed="$seed" ;;
      scheduled) conf=$likelihood variant "$seed/scheduled" "$begun" "${more[@]}" "$schedule" train.seed="$seed" ;;
      *) variant "$seed/$method" "$begun" train.seed="$seed" ;;
    esac
  done
  python tools/report_table.py --digits 2 "${compared[@]}"
  if from 2 "a picture of hidden states"; then
    python tools/hidden_states.py --rows "${ROWS:-1536}" --out "$out/$seed/states.png" "${compared[@]}"
  fi
done
