#!/usr/bin/env bash
# Gaps of inference on scikit-learn's digits, 8 × 8 pixels, binary: how much of what the bound lacks is the family of
# posteriors, and how much the encoder, for encoders without hidden layers, with two, with two wide ones, and for a flow.
#   egs/digits/inference_gaps/run.sh [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# conf/base.yaml takes nine minutes of one core, most of it to measure; conf/tiny.yaml some seconds. ENCODERS and SEEDS choose
# the runs, MEASURE holds the options of `seqgen gaps`.
set -euo pipefail
conf=egs/digits/inference_gaps/conf/base.yaml out=exp/digits-inference-gaps data=exp/digits-inference-gaps/data
. "$(dirname "$0")/../../variants.sh"
declare -A encoders=(
  [linear]="networks.model.encoder.hidden=[]"
  [two-layers]="networks.model.encoder.activation=elu"
  [wide]="networks.model.encoder.hidden=[256,256]"
  [flow]="networks.model.posterior.name=coupling-flow"
)
measure=${MEASURE-"--examples 100 --temperatures 300 --chains 16 --leapfrog 5 --search-steps 1500"} reports=()

if from 0 "data"; then
  seqgen data prepare pictures --corpus "${corpus:-digits}" --binarise threshold --out "$data"
fi
for seed in ${SEEDS:-0}; do
  for name in ${ENCODERS-linear two-layers wide flow}; do
    run=$seed/$name; reports+=("$out/$run/gaps.json")
    if from 1 "training, $name, seed $seed"; then variant "$run" task.data="$data" train.seed="$seed" "${encoders[$name]}"; fi
    if from 2 "gaps, $name, seed $seed"; then
      seqgen gaps "$out/$run" --split train test $measure --report "$out/$run/gaps.json" > /dev/null
    fi
  done
done
if from 3 "table"; then
  python -m egs.digits.inference_gaps.table "${reports[@]}" | tee "$out/table.md"
fi
