# Sourced by recipes of δ-VAE, after their defaults for `conf`, `out` and `data`: the options of options.sh, and what is
# compared. Beside `conf` lies decoder-NAME, the decoder without a code, where there is one; `free` is what free bits allow a
# position, in nats.
. "$(dirname "${BASH_SOURCE[0]}")/variants.sh"
dim=$(sed -n 's/.*posterior: {name: gaussian, dim: \([0-9]*\)}.*/\1/p' "$conf")
rate=$(sed -n 's/^players: .*learning_rate: \([0-9e.-]*\)}}.*/\1/p' "$conf")
plain="networks.model.prior={name: standard-normal, dim: $dim}"
declare -A variants=(
  [vae]="$plain"
  [free-bits]="$plain|objective.rate={name: free-bits, nats: $free}"
  [delta]=
  [delta-plain]="objective.rate.warm_up=0"
  [delta-causal]="networks.model.encoder.direction=causal"
)

compared() { # [KEY=VALUE ...]: train and evaluate VARIANTS with SEEDS and these settings, each once more with a prior
  # that is fitted to its codes, then a table
  local alone; alone=$(dirname "$conf")/decoder-$(basename "$conf")
  for seed in ${SEEDS:-0}; do
    if [ -f "$alone" ] && from 1 "the decoder alone, seed $seed"; then
      conf=$alone variant "$seed/decoder" "train.seed=$seed" "$@"
    fi
    for name in ${VARIANTS:-vae free-bits delta delta-plain delta-causal}; do
      IFS='|' read -ra settings <<< "${variants[$name]}"
      if from 2 "$name, seed $seed"; then
        variant "$seed/$name" "train.seed=$seed" "$@" "${settings[@]}"
      fi
      if from 3 "a prior fitted to the codes of $name, seed $seed"; then
        prior="{name: recurrent-mixture, dim: $dim, components: 8, hidden: 64}"
        model="{name: pretrained, experiment: $out/$seed/$name, frozen: false, replaced: {prior: $prior}}"
        variant "$seed/$name-fitted" "train.seed=$seed" "$@" "networks.model=$model" \
          "objective={name: code-prior}" "players={prior: {optimiser: adam, learning_rate: $rate}}"
      fi
    done
  done
  if from 4 "table"; then
    python -m egs.rates "$out" | tee "$out/table.md"
  fi
}
