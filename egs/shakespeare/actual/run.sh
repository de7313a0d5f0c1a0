#!/usr/bin/env bash
# ACtuAL-style training on characters: a network fitted by likelihood goes on against a discriminator, whose judgement a
# critic foresees; beside it the same fitted by likelihood for longer. Another network judges samples at temperatures.
#   egs/shakespeare/actual/run.sh --corpus DIR|FILE [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# The corpus is a text, or a folder with tinyshakespeare.txt. SEEDS chooses the runs, GRADIENTS how the actor's gradient is
# estimated; SAMPLES, EXAMPLES and TEMPERATURES the extent of the last stage. conf/tiny.yaml takes some seconds.
set -euo pipefail
conf=egs/shakespeare/actual/conf/base.yaml out=exp/shakespeare-actual data=exp/shakespeare-actual/data
. "$(dirname "$0")/../../variants.sh"
[ ! -d "$corpus" ] || corpus=$corpus/tinyshakespeare.txt
likelihood=$(dirname "$conf")/mle-$(basename "$conf") judge=$(dirname "$conf")/judge-$(basename "$conf")

if from 0 "data: 45 % to learn from, 5 % for validation, 5 % for the test, 45 % for the network that judges"; then
  python -m egs.shakespeare.actual.pieces "$corpus" "$data"
  for held in test judge; do # by one tokenizer, that of the first part
    seqgen data prepare text --corpus "$data/train.txt" --valid "$data/valid.txt" --test "$data/$held.txt" \
      --out "$data/$held" --tokenizer characters
  done
  rm -r "$data/judge/train" && mv "$data/judge/test" "$data/judge/train" && cp -r "$data/test/test" "$data/judge/test"
fi

if from 1 "the network that judges"; then conf=$judge variant judge task.data="$data/judge"; fi
compared=()
for seed in ${SEEDS:-0}; do
  begun="networks.generator={name: pretrained, experiment: $out/$seed/mle, frozen: false}"
  settings=(task.data="$data/test" train.seed="$seed")
  compared+=("$out/$seed/longer")
  if from 2 "maximum likelihood, seed $seed"; then conf=$likelihood variant "$seed/mle" "${settings[@]}"; fi
  if from 3 "maximum likelihood for longer"; then conf=$likelihood variant "$seed/longer" "$begun" "${settings[@]}"; fi
  for gradient in ${GRADIENTS:-all-actions}; do
    compared+=("$out/$seed/$gradient")
    settings+=("$begun" objective.gradient="$gradient")
    if from 4 "adversarial training, $gradient"; then variant "$seed/$gradient" "${settings[@]}"; fi
  done
done
if from 5 "samples at several temperatures"; then
  python tools/temperature_sweep.py "${compared[@]}" --out "$out/temperatures" --oracle "$out/judge" \
    --samples "${SAMPLES:-1000}" --examples "${EXAMPLES:-0}" --temperatures ${TEMPERATURES:-0.6 0.7 0.8 0.9 1 1.1} \
    --figures sample_bits_per_character oracle_bits_per_character bits_per_character self_bleu distinct_4grams duplicates
fi
