# Sourced by recipes that compare variants of one run, after their defaults for `conf`, `out` and `data`: the options of
# options.sh, and what the stages are made of.
. "$(dirname "${BASH_SOURCE[0]}")/options.sh"

variant() { # NAME [KEY=VALUE ...]: train the run of `conf` with these settings in OUT/NAME, or go on, and evaluate it
  seqgen train "$conf" --out "$out/$1" $([ ! -d "$out/$1/checkpoints" ] || echo --resume) ${2:+--set "${@:2}"}
  seqgen eval "$out/$1" > /dev/null
}
