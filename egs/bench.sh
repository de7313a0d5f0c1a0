# Sourced by the bench of representations, after its defaults for `conf`, `out` and `data`: the options of options.sh, what is
# compared over each data set, and the stages of a DATASET and a SEED: `trained`, `told` and `informed`. JOBS run side by side.
. "$(dirname "${BASH_SOURCE[0]}")/variants.sh"
TIMEFORMAT='%U %S' own=bench/representations phone=${PHONES:+phone}
declare -A recipes added
exec 3>&2 # beside what `time` says
cores=$(getconf _NPROCESSORS_ONLN) JOBS=${JOBS:-$cores} running=()
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > JOBS ? cores / JOBS : 1))}
trap 'for one in "${running[@]}"; do kill -- "-$one" 2>/dev/null || true; done' EXIT

over_fsdd() { # spoken digits of six speakers, 8 kHz
  recipes=([cpc]=fsdd/cpc [wpc]=$own/wpc [vq_vae]=fsdd/vq_vae [delta_vae]=$own/delta_vae [beta_tcvae]=$own/beta_tcvae [ali]=$own/ali) added=()
  methods="cpc wpc vq_vae delta_vae beta_tcvae ali" targets="digit speaker pitch $phone" whole=digit judged=
  settings=("task.train=$data/fsdd/train" "task.valid=$data/fsdd/valid" "task.test=$data/fsdd/test")
  prepare() { seqgen data prepare fsdd --out "$data/fsdd" ${corpus:+--corpus "$corpus"}; }
}

over_librispeech() { # readers, 16 kHz: a folder test-other (or PART) with one for each; recordings of readers whom training
  # knows are held out
  local wide="task.features.sample_rate=16000 task.features.n_fft=1024 task.features.window=512 task.features.hop=256"
  recipes=([cpc]=librispeech/cpc [wpc]=librispeech/cpc [vq_vae]=librispeech/vq_vae [delta_vae]=$own/delta_vae [beta_tcvae]=$own/beta_tcvae [ali]=$own/ali)
  added=([wpc]="objective.lipschitz.weight=1.0 objective.sloped=4" [delta_vae]=$wide [beta_tcvae]=$wide [ali]=$wide)
  methods="cpc wpc vq_vae delta_vae beta_tcvae ali" targets="speaker pitch $phone" whole=speaker judged=
  settings=("task.train=$data/librispeech/train" "task.valid=$data/librispeech/valid" "task.test=$data/librispeech/test")
  prepare() { seqgen data prepare folder --corpus "$corpus/${PART:-test-other}" --out "$data/librispeech" --valid 0.1 --test 0.2; }
}

over_mnist() { # handwritten digits, 28 x 28 binary pixels, of mnist.npz; COUNTS says how many pictures, EXAMPLES how many are probed
  local pictures=bench/pictures
  recipes=([cpc]=$pictures/cpc [wpc]=$pictures/wpc [vae]=mnist/vae [vq_vae]=mnist/vq_vae)
  recipes+=([delta_vae]=mnist/delta_vae [beta_tcvae]=$pictures/beta_tcvae [ali]=$pictures/ali [acn]=mnist/acn) added=()
  methods="cpc wpc vae vq_vae delta_vae beta_tcvae ali acn" targets=class whole=class judged="--examples ${EXAMPLES:-5000}"
  settings=("task.data=$data/mnist")
  prepare() { seqgen data prepare pictures --corpus "$corpus" --binarise static --out "$data/mnist" ${COUNTS:---test 2000}; }
}

aligned() { # DATASET: the phones of what is probed, by pocketsphinx, unless they are there
  local part
  for part in train test; do [ -f "$data/$1/$part.ctm" ] || seqgen data phones "$data/$1/$part" -o "$data/$1/$part.ctm"; done
}

aside() { # COMMAND ...: run it as soon as fewer than JOBS of this recipe's run; one that fails ends the recipe
  while (($(jobs -rp | wc -l) >= JOBS)); do wait -n || [ $? -eq 127 ]; done # 127: it has ended since
  set -m # a group of processes each, for which `kill` has a name
  "$@" &
  set +m
  running+=($!)
}

others() { # wait for what runs aside
  for one in "${running[@]}"; do wait "$one"; done
  running=()
}

trained() { # DATASET SEED: train and evaluate METHODS aside, into OUT/DATASET/SEED; each says its progress in METHOD.log
  local place=$1/$2 method
  for method in ${METHODS:-$methods}; do
    conf=egs/${recipes[$method]}/conf/$size.yaml
    from 1 "$1, $method, seed $2" && [ ! -f "$out/$place/$method/eval.json" ] || continue
    mkdir -p "$out/$place"
    aside timed "$out/$place/$method" variant "$place/$method" train.seed="$2" "${settings[@]}" ${added[$method]:-} ${SET:-}
  done
}

timed() { # PLACE COMMAND ...: the processor time goes to PLACE.time, what is said to PLACE.log
  { time "${@:2}" 2> "$1.log" || { cat "$1.log" >&3; return 1; }; } 2>> "$1.time"
}

told() { # DATASET SEED: probe what is trained aside, TARGETS side by side
  local place=$1/$2 method target options models=()
  for method in ${METHODS:-$methods}; do models+=("$out/$place/$method"); done
  for target in ${TARGETS-$targets}; do
    from 2 "$1, $target by linear probes, seed $2" || continue
    options=(${judged:-}) && [ "$target" != "$whole" ] || options+=(--vectors "$out/$place/vectors")
    [ "$target" != phone ] || options=(--ctm "$data/$1"/{train,test}.ctm)
    aside seqgen probe "${models[@]}" --train "$data/$1/train" --data "$data/$1/test" --target "$target" --seed "$2" \
      --supervised "${SUPERVISED:-$supervised}" --report "$out/$place/$target.json" "${options[@]}"
  done
}

informed() { # DATASET SEED: mutual information of what probes left as vectors, aside
  from 3 "$1, mutual information, seed $2" || return 0
  aside python -m egs.bench.representations.information "$out/$1/$2"/{vectors,information} "${STEPS:-$steps}" "$fewest" ${BOUNDS:-infonce alpha:0.01 nwj}
}
