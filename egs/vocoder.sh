# Sourced by the recipes of vocoders, after their defaults for `conf`, `out` and `data`: the options of options.sh, what the
# stages are made of, and `vocoder DATASET [NAME=VALUE ...]`, which runs them all. DATASET is a corpus that `seqgen data
# prepare` knows; the names are
#   speakers    yes: recordings are of several, whose names stand before the first "-" of an utterance's
#   formats     weights of the exported voices: float32 (OUT/voice) and, where wanted, int8 (OUT/voice-int8)
#   scored      those formats whose likelihood on the test set is told
#   pretrained  networks that the objective is given, NETWORK=START each: trained into OUT/NETWORK as the file says that
#               begins with START and ends with the name of `conf`; TEACHER=exp/... in the environment takes a teacher that
#               is there, and so on
#   beside      that one of them which is evaluated too and stands in a picture beside the voice
#   bench       options of `seqgen bench`
. "$(dirname "${BASH_SOURCE[0]}")/options.sh"

prepare() { # DATASET: its data directories
  seqgen data prepare "$1" --out "$data" ${corpus:+--corpus "$corpus"}
  seqgen data check --quick "$data"/{train,valid,test}
}

fit() { # CONF DIRECTORY [KEY=VALUE ...] [OPTION ...]: train, or go on
  seqgen train "$1" --out "$2" $([ ! -d "$2/checkpoints" ] || echo --resume) \
    --set "task.train=$data/train" "task.valid=$data/valid" "task.test=$data/test" "${@:3}"
}

given() { local name=${1^^}; echo "${!name:-}"; } # the experiment that the environment gives for a pretrained network
place() { local found; found=$(given "$1"); echo "${found:-$out/$1}"; }
voice() { echo "$out/voice$([ "$1" = float32 ] || echo "-$1")"; }

pretrain() {
  local network
  for network in $pretrained; do
    [ -n "$(given "${network%%=*}")" ] || fit "${network#*=}$(basename "$conf")" "$out/${network%%=*}"
  done
}

train() {
  local network settings=()
  for network in $pretrained; do settings+=("networks.${network%%=*}.experiment=$(place "${network%%=*}")"); done
  fit "$conf" "$out" "${settings[@]}"
}

evaluate() {
  [ -z "$beside" ] || seqgen eval "$(place "$beside")" --report "$out/$beside.json" --audio "$out/$beside-audio"
  seqgen eval "$out" --audio "$out/audio"
}

export_voices() {
  local format
  for format in $formats; do
    seqgen export "$out" --out "$(voice "$format")" $([ "$format" = float32 ] || echo --quantise "$format")
  done
  for format in $scored; do seqgen eval "$(voice "$format")" --data "$data/test" --likelihood-only; done
}

stream() { # a held-out recording; a picture where something stands beside it; speeds
  local recordings=("$out"/audio/*.reference.wav) format
  local reference=${recordings[0]} id
  id=$(basename "$reference" .reference.wav)
  seqgen-serve vocode "$reference" -o "$out/streamed.wav" --voice "$out/voice" ${speakers:+--speaker "${id%%-*}"}
  [ -z "$beside" ] || python -m seqgen.metrics.picture "$out/spectrograms.png" recording="$reference" \
    streamed="$out/streamed.wav" "$beside=$out/$beside-audio/$id.vocoded.wav"
  for format in $([ -z "$bench" ] && echo "$formats" || echo float32); do seqgen bench "$(voice "$format")" $bench; done
}

vocoder() { # DATASET [NAME=VALUE ...]: all stages
  local dataset=$1 speakers="" formats=float32 scored="" pretrained="" beside="" bench="" setting
  for setting in "${@:2}"; do
    case ${setting%%=*} in
      speakers | formats | scored | pretrained | beside | bench) local "$setting" ;;
      *) echo "error: vocoder.sh knows no '$setting'" >&2; exit 2 ;;
    esac
  done
  if from 0 "data"; then
    prepare "$dataset"
    seqgen data stats "$data"/{train,valid,test}
  fi
  if [ -z "$pretrained" ]; then
    if from 1 "training"; then train; fi
    if from 2 "evaluation on the test set"; then evaluate; fi
    if from 3 "export"; then export_voices; fi
  else
    if from 1 "networks that training is given"; then pretrain; fi
    if from 2 "training"; then train; fi
    if from 3 "evaluation on the test set, export"; then
      evaluate
      export_voices
    fi
  fi
  if from 4 "a held-out recording through the streaming voice, without torch"; then stream; fi
}
