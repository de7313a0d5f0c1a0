# Sourced by recipes that compare variants of one run, after their defaults for `conf`, `out` and `data`: the options of
# options.sh, and what the stages are made of.
. "$(dirname "${BASH_SOURCE[0]}")/options.sh"

variant() { # NAME [KEY=VALUE ...]: train the run of `conf` with these settings in OUT/NAME, or go on, and evaluate it;
  # where `start` names another variant, it begins with that one's weights
  local begin=(${start:+--init-from "$out/$start"})
  [ ! -d "$out/$1/checkpoints" ] || begin=(--resume)
  seqgen train "$conf" --out "$out/$1" --evaluate "${begin[@]}" ${2:+--set "${@:2}"} > /dev/null
}
