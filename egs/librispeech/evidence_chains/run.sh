#!/usr/bin/env bash
# How long speakers make each phone, a table with gaps: recursive evidence chains, which own no vector of a speaker, beside the means
# of speakers and phones and beside matrix factorisation. Judged are durations that were held out, and those of new speakers
# of whom a few are known.
#   egs/librispeech/evidence_chains/run.sh --corpus DIR [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# The corpus has a folder train-clean-100, which has one for each reader; another one is named by PART. PHONES names a CTM file of
# its phones; by default they are heard (extra `phones`). SEEDS chooses the trainings, DECAYS the weight decays that are tried.
# conf/base.yaml takes a minute a seed on one core, conf/tiny.yaml some seconds.
set -euo pipefail
conf=egs/librispeech/evidence_chains/conf/base.yaml out=exp/librispeech-evidence-chains data=data/librispeech-readers
. "$(dirname "$0")/../../variants.sh"
factors=$(dirname "$conf")/factorisation-$(basename "$conf")
table=$out/durations.tsv phones=${PHONES:-$out/phones.ctm}
new=$(sed -n 's/.*new_users: \[\([0-9]*\), \([0-9]*\)\].*/\1 + \2/p' "$conf")

if from 0 "durations"; then
  part=${PART:-train-clean-100}
  [ -d "$corpus/$part" ] || { echo "error: no folder $part in '$corpus'; give --corpus DIR" >&2; exit 1; }
  [ -d "$data" ] || seqgen data prepare folder --corpus "$corpus/$part" --out "$data" --valid 0 --test 0
  mkdir -p "$out"
  [ -f "$phones" ] || seqgen data phones "$data/train" -o "$phones"
  python -m egs.librispeech.evidence_chains.durations "$data/train" "$phones" "$table"
fi
users=$(($(cut -f1 "$table" | sort -u | wc -l) - ($new))) items=$(cut -f2 "$table" | sort -u | wc -l)
for seed in ${SEEDS:-0 1 2}; do
  options=(task.ratings="$table" train.seed="$seed")
  if from 1 "matrix factorisation and means, seed $seed"; then
    for decay in ${DECAYS:-1 4 16}; do
      sizes=("${options[@]}" networks.network.users=$users networks.network.items="$items" networks.network.ridge="$decay" objective.weight_decay="$decay")
      conf=$factors variant "1/$seed/means/$decay" "${sizes[@]}" networks.network.factors=0
      conf=$factors variant "1/$seed/factorisation/$decay" "${sizes[@]}"
    done
  fi
  if from 2 "evidence chains, seed $seed"; then variant "1/$seed/chains/0" "${options[@]}"; fi
done
if from 3 "table"; then
  python -m egs.synthetic.evidence_chains.table "$out" --target "${TARGET:-0.2}" | tee "$out/table.md"
fi
