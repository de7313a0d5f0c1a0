#!/usr/bin/env bash
# Bench of representations of spoken digits: encoders by contrasts (CPC, and WPC, whose scores are held to a slope), codes of
# latent-variable models, cepstra and baselines under the same linear probes, with their rate, their mutual information with
# label and signal, and what training cost.
#   egs/bench/representations/run.sh [--corpus DIR] [--stage N] [--conf base|tiny] [--out DIR] [--data DIR]
# Without --corpus the public corpus is downloaded. Of the base form the encoders of egs/fsdd/{cpc,vq_vae} take 22 minutes of
# one core, the others some minutes, and the probes of pitch three; conf tiny takes one minute, on few recordings.
# METHODS and SEEDS choose the runs, which are kept where they are there; TARGETS (digit speaker pitch) what is probed, BOUNDS
# and STEPS the information. PHONES names CTM files of phones, which are probed then too. SET has settings for all runs.
set -euo pipefail
conf=base out=exp/bench-representations data=data/fsdd
. "$(dirname "$0")/../../variants.sh"
size=$(basename "$conf" .yaml) methods=${METHODS:-cpc wpc vq_vae delta_vae beta_tcvae} steps=1000 supervised=300
[ "$size" != tiny ] || steps=20 supervised=2
own=bench/representations TIMEFORMAT='%U %S'
declare -A recipes=([cpc]=fsdd/cpc [wpc]=$own/wpc [vq_vae]=fsdd/vq_vae [delta_vae]=$own/delta_vae [beta_tcvae]=$own/beta_tcvae)
exec 3>&2 # beside what `time` says

if from 0 "data"; then [ -d "$data" ] || seqgen data prepare fsdd --out "$data" ${corpus:+--corpus "$corpus"}; fi
for seed in ${SEEDS:-0}; do
  models=()
  for method in $methods; do
    models+=("$out/$seed/$method") conf=egs/${recipes[$method]}/conf/$size.yaml
    from 1 "$method, seed $seed" && [ ! -f "$out/$seed/$method/eval.json" ] || continue
    mkdir -p "$out/$seed"
    { time variant "$seed/$method" train.seed="$seed" "task.train=$data/train" "task.valid=$data/valid" \
      "task.test=$data/test" ${SET:-} 2>&3; } 2>> "$out/$seed/$method.time"
  done
  for target in ${TARGETS-digit speaker pitch} ${PHONES:+phone}; do
    from 2 "$target by linear probes, seed $seed" || continue
    options=() && [ "$target" != digit ] || options=(--vectors "$out/$seed/vectors")
    [ "$target" != phone ] || read -ra options <<< "--ctm $PHONES"
    seqgen probe "${models[@]}" --train "$data/train" --data "$data/test" --target "$target" --seed "$seed" \
      --supervised "${SUPERVISED:-$supervised}" --report "$out/$seed/$target.json" "${options[@]}"
  done
  if from 3 "mutual information, seed $seed"; then
    python -m egs.bench.representations.information "$out/$seed"/{vectors,information} "${STEPS:-$steps}" ${BOUNDS:-infonce alpha:0.01 nwj}
  fi
done
if from 4 "table and picture"; then python -m egs.bench.representations.table "$out"; fi
