#!/usr/bin/env bash
# Professor forcing of a character model: likelihood, then as many updates again by likelihood (longer) or against a
# discriminator. Held-out bits per character, and samples of four times the length learnt from, of which another model, of
# long short-term memory, says how likely they are.
#   egs/shakespeare/professor_forcing/run.sh --corpus DIR|FILE [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# conf/base.yaml takes a quarter of an hour a seed, conf/tiny.yaml some seconds. SEEDS chooses the runs, METHODS
# what goes on: longer, professor.
set -euo pipefail
conf=egs/shakespeare/professor_forcing/conf/base.yaml out=exp/shakespeare-professor-forcing
data=$out/data
. "$(dirname "$0")/../../variants.sh"
[ ! -d "$corpus" ] || corpus=$corpus/tinyshakespeare.txt
likelihood=$(dirname "$conf")/likelihood-$(basename "$conf")
more=("players.generator={optimiser: adam, learning_rate: 5e-4}" "train.steps=${UPDATES:-500}")

if from 0 "data, and the model that judges samples"; then
  seqgen data prepare text --corpus "$corpus" --out "$data" --tokenizer characters
  conf=$likelihood variant judge "task.data=$data" networks.generator.body.cell=lstm train.seed=1000
fi
for seed in ${SEEDS:-0}; do
  given=("task.data=$data" train.seed="$seed") compared=("$out/$seed/likelihood")
  begun="networks.generator={name: pretrained, experiment: $out/$seed/likelihood, frozen: false}"
  if from 1 "likelihood, seed $seed"; then conf=$likelihood variant "$seed/likelihood" "${given[@]}"; fi
  for method in ${METHODS:-longer professor}; do
    compared+=("$out/$seed/$method")
    from 2 "as many updates again: $method" || continue
    [ "$method" = longer ] || { variant "$seed/$method" "${given[@]}" "$begun" && continue; }
    conf=$likelihood variant "$seed/longer" "${given[@]}" "$begun" "${more[@]}"
  done
  if from 3 "samples, by the other model, and a picture of hidden states"; then
    for one in "${compared[@]}"; do
      seqgen eval "$one" --samples "${SAMPLES:-128}" --length "${LENGTH:-400}" --oracle "$out/judge" > /dev/null
    done
    python tools/hidden_states.py --rows "${ROWS:-1024}" --out "$out/$seed/states.png" "${compared[@]}"
  fi
  python tools/report_table.py "${compared[@]}"
done
