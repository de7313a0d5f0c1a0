#!/usr/bin/env bash
# Professor forcing of a character model: likelihood, then as many updates again by likelihood or against a discriminator.
# Held-out bits per character, and samples of four times the length learnt from, which another model, of long short-term
# memory, finds more or less likely.
#   egs/shakespeare/professor_forcing/run.sh --corpus DIR|FILE [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# SEEDS chooses the runs. conf/base.yaml takes about eight minutes a seed on one core, conf/tiny.yaml some seconds.
set -euo pipefail
conf=egs/shakespeare/professor_forcing/conf/base.yaml out=exp/shakespeare-professor-forcing
data=$out/data
. "$(dirname "$0")/../../variants.sh"
[ ! -d "$corpus" ] || corpus=$corpus/tinyshakespeare.txt
likelihood=$(dirname "$conf")/likelihood-$(basename "$conf")
further="players.generator={optimiser: adam, learning_rate: 5e-4}"

if from 0 "data, and the model that judges samples"; then
  seqgen data prepare text --corpus "$corpus" --out "$data" --tokenizer characters
  conf=$likelihood variant judge "task.data=$data" networks.generator.body.cell=lstm train.seed=1000
fi
for seed in ${SEEDS:-0}; do
  begun="networks.generator={name: pretrained, experiment: $out/$seed/likelihood, frozen: false}"
  if from 1 "likelihood, seed $seed"; then conf=$likelihood variant "$seed/likelihood" "task.data=$data" train.seed="$seed"; fi
  if from 2 "as many updates again: likelihood, professor forcing"; then
    conf=$likelihood variant "$seed/longer" "task.data=$data" "$begun" "$further" train.steps="${UPDATES:-500}" train.seed="$seed"
    variant "$seed/professor" "task.data=$data" "$begun" train.seed="$seed"
  fi
  if from 3 "samples, by the other model"; then
    for name in likelihood longer professor; do
      seqgen eval "$out/$seed/$name" --samples "${SAMPLES:-128}" --length "${LENGTH:-400}" --oracle "$out/judge" > /dev/null
    done
  fi
  python tools/report_table.py "$out/$seed"/{likelihood,longer,professor}
  if from 4 "hidden states"; then
    python tools/hidden_states.py --rows "${ROWS:-1024}" --out "$out/$seed/states.png" "$out/$seed"/{likelihood,longer,professor}
  fi
done
