# Sourced by recipes of constrained critics, after their defaults for `conf`, `out` and `data`, `cells` (how many cells a picture
# has, one or several numbers), `pixels` of a cell, and `prepare`, which makes the drawings: the options of options.sh, and
# the stages. WAYS (cpc wpc wpc-spectral cpc-decay), CELLS and SEEDS choose the runs, WEIGHT is that of the penalty; the runs
# of cpc are evaluated beside the pixels and an encoder that learns the labels in BASELINE steps.
. "$(dirname "${BASH_SOURCE[0]}")/variants.sh"
declare -A ways=(
  [cpc]="task.probe.baseline_steps=${BASELINE:-3000}"
  [cpc-decay]="players.critic.optimiser={name: adamw, weight_decay: ${DECAY:-0.1}}"
  [wpc]="objective.lipschitz={weight: ${WEIGHT:-1.0}}"
  [wpc-spectral]="networks.critic.spectral_norm=true"
)

if from 0 "drawings"; then [ -d "$data" ] || prepare; fi
for count in ${CELLS:-$cells}; do
  runs=() baselines=() width=$((pixels * count))
  for way in ${WAYS:-cpc wpc}; do for seed in ${SEEDS:-0 1 2}; do
    runs+=("$out/$count-$way-$seed")
    [ "$way" != cpc ] || baselines+=("$out/$count-$way-$seed")
    from 1 "$count cells, $way, seed $seed" || continue
    variant "$count-$way-$seed" task.pictures="$data" task.cells.count="$count" networks.critic.x_dim="$width" \
      networks.critic.y_dim="$width" train.seed="$seed" "${ways[$way]}"
  done; done
  if from 2 "probes, $count cells"; then
    python tools/seeds_table.py "${runs[@]}" --figures probe_mean probe_least information | tee "$out/seeds-$count.md"
    [ -z "${baselines[*]}" ] || python tools/seeds_table.py "${baselines[@]}" \
      --figures pixels_mean pixels_least supervised_mean supervised_least | tee "$out/baselines-$count.md"
  fi
done
