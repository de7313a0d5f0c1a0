# Sourced by the recipes of flows over characters, after their defaults for `conf`, `out` and `data` and `text`, the file
# of a corpus folder: the options of options.sh and the stages. Beside `conf` stand the same with -scaled, -bipartite and
# -autoregressive: with a scale too, the other flow, and the network as a language model. BESIDE chooses among them.
. "$(dirname "${BASH_SOURCE[0]}")/variants.sh"
[ ! -d "$corpus" ] || corpus=$corpus/$text
flows=$conf beside=${BESIDE:-scaled bipartite autoregressive}

if from 0 "data"; then
  seqgen data prepare text --corpus "$corpus" --out "$data" --tokenizer characters
fi

if from 1 "training and evaluation"; then
  variant autoregressive-flow task.data="$data"
  variant factorised task.data="$data" "networks.generator.bijectors=[]" networks.generator.base.peak=0 \
    train.steps="${FACTORISED_STEPS:-400}" train.validate_every=0
  for other in $beside; do
    conf=${flows%.yaml}-$other.yaml variant $other task.data="$data"
  done
fi

if from 2 "bits per character, side by side"; then
  python tools/report_table.py --digits 4 "$out"/{factorised,autoregressive-flow} $(printf "$out/%s " $beside)
fi

if from 3 "characters a second, and samples"; then
  python tools/generation_speed.py "$flows" $(printf "${flows%.yaml}-%s.yaml " $beside) --set task.data="$data" --elements 2048
  for one in autoregressive-flow $beside; do seqgen sample "$out/$one" --length 256; done
fi
