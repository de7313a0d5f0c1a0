# Sourced by recipes of VQ-VAE, after their defaults for `conf`, `out` and `data`: the options of options.sh, and what is
# compared. `conf` has a codebook in the line `posterior`; `gaussian` says the posterior and the prior of the ordinary
# variational autoencoder beside it, as settings with | between them.
. "$(dirname "${BASH_SOURCE[0]}")/variants.sh"
sizes=$(sed -n 's/.*posterior: {name: vector-quantised, dim: \([0-9]*\), classes: \([0-9]*\).*/\1 \2/p' "$conf")
rate=$(sed -n 's/^players: .*learning_rate: \([0-9e.-]*\)}}.*/\1/p' "$conf")
read -r dim classes <<< "$sizes"
unset sizes

compared() { # [KEY=VALUE ...]: train and evaluate the ordinary model, and codebooks of CLASSES entries, with SEEDS and
  # these settings, each once more with a prior that is fitted to its codes, then a table
  for seed in ${SEEDS:-0}; do
    if from 1 "an ordinary variational autoencoder, seed $seed"; then
      IFS='|' read -ra settings <<< "$gaussian"
      variant "$seed/gaussian" "train.seed=$seed" "$@" "${settings[@]}"
    fi
    for entries in ${CLASSES:-$classes}; do
      if from 2 "a codebook of $entries, seed $seed"; then
        variant "$seed/codebook-$entries" "train.seed=$seed" "$@" \
          "networks.model.posterior.classes=$entries" "networks.model.prior.classes=$entries"
      fi
      if from 3 "a prior fitted to the codes of $entries entries, seed $seed"; then
        body="{name: recurrent, vocab_size: $entries, outputs: $entries, hidden: ${hidden:-64}, embedding: 16}"
        prior="{name: density, density: {name: autoregressive, body: $body}}"
        model="{name: pretrained, experiment: $out/$seed/codebook-$entries, frozen: false, replaced: {prior: $prior}}"
        variant "$seed/codebook-$entries-fitted" "train.seed=$seed" "$@" "networks.model=$model" \
          "objective={name: code-prior}" "players={prior: {optimiser: adam, learning_rate: $rate}}"
      fi
    done
  done
  if from 4 "table"; then
    python -m egs.rates "$out" | tee "$out/table.md"
  fi
}
