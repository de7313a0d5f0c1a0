# Sourced by recipes of associative compression networks, after their defaults for `conf`, `out` and `data`: the options
# of options.sh, and what is compared. Beside `conf` lies decoder-NAME, the decoder without a code.
. "$(dirname "${BASH_SOURCE[0]}")/variants.sh"
dim=$(sed -n 's/.*posterior: {name: gaussian, dim: \([0-9]*\),.*/\1/p' "$conf")
declare -A variants=(
  [vae]="networks.model.prior={name: standard-normal, dim: $dim}|networks.model.posterior.scale=0"
  [vae-unit]="networks.model.prior={name: standard-normal, dim: $dim}"
  [acn]=
  [acn-once]="networks.model.prior.once=true"
  [acn-any]="networks.model.prior.neighbours=1000000"
)

compared() { # train and evaluate VARIANTS with SEEDS, then a table
  for seed in ${SEEDS:-0}; do
    if from 1 "the decoder alone, seed $seed"; then
      conf=$(dirname "$conf")/decoder-$(basename "$conf") variant "$seed/decoder" "task.data=$data" "train.seed=$seed"
    fi
    for name in ${VARIANTS:-vae vae-unit acn acn-any}; do
      IFS='|' read -ra settings <<< "${variants[$name]}"
      if from 2 "$name, seed $seed"; then
        variant "$seed/$name" "task.data=$data" "train.seed=$seed" "${settings[@]}"
      fi
    done
  done
  if from 3 "table"; then
    rows=$(sed -n 's/^examples: //p' "$out"/*/decoder/facts.yaml | head -1)
    python -m egs.rates "$out" --rows "$rows" | tee "$out/table.md"
  fi
}
