# Sourced by recipes of one language model, after their defaults for `conf`, `out`, `data`, `text` (the file of a corpus
# folder), `tokenizer` and `prompt` (where there is one): the options of options.sh, and the stages.
. "$(dirname "${BASH_SOURCE[0]}")/variants.sh"
[ ! -d "$corpus" ] || corpus=$corpus/$text

if from 0 "data"; then
  seqgen data prepare text --corpus "$corpus" --out "$data" --tokenizer "$tokenizer"
fi

if from 1 "training and evaluation"; then
  variant . "task.data=$data"
fi

if from 2 "a sample"; then
  seqgen sample "$out" ${prompt:+--prompt "$prompt"} --length 300 --temperature 0.8
fi
