#!/usr/bin/env bash
# Bench of representations: encoders by contrasts (CPC, and WPC, whose scores are held to a slope), codes of latent-variable
# models, by a bound or by a game (ALI), cepstra or pixels, and baselines under the same linear probes, with their rate, their
# mutual information with label and signal, and what training cost.
#   egs/bench/representations/run.sh [--corpus DIR] [--stage N] [--conf base|tiny] [--out DIR] [--data DIR]
# DATASETS (fsdd librispeech mnist) says over which, by default fsdd alone; --corpus is the corpus of the only one, and FSDD,
# LIBRISPEECH and MNIST in the environment are those of several. Without one fsdd is downloaded. What is compared, and the
# corpora, says egs/bench.sh. METHODS and SEEDS choose the runs, which are kept where they are there;
# TARGETS what is probed, BOUNDS and STEPS the information. PHONES=yes probes phones of speech too, which pocketsphinx aligns. SET has
# settings for all runs; JOBS (as many as cores) go side by side. tiny takes a minute, on few recordings.
set -euo pipefail
conf=base out=exp/bench-representations data=exp/bench-representations/data
. "$(dirname "$0")/../../bench.sh"
size=$(basename "$conf" .yaml) steps=1000 supervised=300 fewest=100 given=$corpus
[ "$size" != tiny ] || steps=20 supervised=2 fewest=2

for dataset in ${DATASETS:-fsdd}; do
  corpus=${dataset^^}; corpus=${!corpus:-$given}
  declare -F "over_$dataset" > /dev/null || { echo "error: no data set '$dataset'; known: fsdd librispeech mnist" >&2; exit 2; }
  "over_$dataset"
  if from 0 "$dataset"; then
    [ -d "$data/$dataset" ] || prepare
    [[ " ${TARGETS-$targets} " != *" phone "* ]] || aligned "$dataset"
  fi
done
for work in trained told informed; do
  for dataset in ${DATASETS:-fsdd}; do
    "over_$dataset"
    for seed in ${SEEDS:-0}; do "$work" "$dataset" "$seed"; done
  done
  others
done
if from 4 "table and picture"; then python -m egs.bench.representations.table "$out"; fi
