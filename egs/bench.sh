# Sourced by the bench of representations, after its defaults for `conf`, `out` and `data`: the options of options.sh, what is
# compared over each data set, and `bench DATASET SEED`.
. "$(dirname "${BASH_SOURCE[0]}")/variants.sh"
TIMEFORMAT='%U %S' own=bench/representations phone=${PHONES:+phone}
declare -A recipes added
exec 3>&2 # beside what `time` says

over_fsdd() { # spoken digits of six speakers, 8 kHz
  recipes=([cpc]=fsdd/cpc [wpc]=$own/wpc [vq_vae]=fsdd/vq_vae [delta_vae]=$own/delta_vae [beta_tcvae]=$own/beta_tcvae [ali]=$own/ali) added=()
  methods="cpc wpc vq_vae delta_vae beta_tcvae ali" targets="digit speaker pitch $phone" whole=digit judged=
  settings=("task.train=$data/fsdd/train" "task.valid=$data/fsdd/valid" "task.test=$data/fsdd/test")
  prepare() { seqgen data prepare fsdd --out "$data/fsdd" ${corpus:+--corpus "$corpus"}; }
}

over_librispeech() { # readers, 16 kHz: a folder test-other (or PART) with one for each; recordings of readers whom training
  # knows are held out
  local wide="task.features.sample_rate=16000 task.features.n_fft=1024 task.features.window=512 task.features.hop=256"
  recipes=([cpc]=librispeech/cpc [vq_vae]=librispeech/vq_vae [delta_vae]=$own/delta_vae [beta_tcvae]=$own/beta_tcvae [ali]=$own/ali)
  added=([delta_vae]=$wide [beta_tcvae]=$wide [ali]=$wide)
  methods="cpc vq_vae delta_vae beta_tcvae ali" targets="speaker pitch $phone" whole=speaker judged=
  settings=("task.train=$data/librispeech/train" "task.valid=$data/librispeech/valid" "task.test=$data/librispeech/test")
  prepare() { seqgen data prepare folder --corpus "$corpus/${PART:-test-other}" --out "$data/librispeech" --valid 0.1 --test 0.2; }
}

over_mnist() { # handwritten digits, 28 x 28 binary pixels, of mnist.npz; COUNTS says how many pictures, EXAMPLES how many are probed
  recipes=([vae]=mnist/vae [vq_vae]=mnist/vq_vae [delta_vae]=mnist/delta_vae [acn]=mnist/acn) added=()
  methods="vae vq_vae delta_vae acn" targets=class whole=class judged="--examples ${EXAMPLES:-5000}"
  settings=("task.data=$data/mnist")
  prepare() { seqgen data prepare pictures --corpus "$corpus" --binarise static --out "$data/mnist" ${COUNTS:---test 2000}; }
}

aligned() { # DATASET: the phones of what is probed, by pocketsphinx, unless they are there
  local part
  for part in train test; do [ -f "$data/$1/$part.ctm" ] || seqgen data phones "$data/$1/$part" -o "$data/$1/$part.ctm"; done
}

bench() { # DATASET SEED: train, probe and estimate, into OUT/DATASET/SEED
  local place=$1/$2 method target options models=()
  for method in ${METHODS:-$methods}; do
    models+=("$out/$place/$method") conf=egs/${recipes[$method]}/conf/$size.yaml
    from 1 "$1, $method, seed $2" && [ ! -f "$out/$place/$method/eval.json" ] || continue
    mkdir -p "$out/$place"
    { time variant "$place/$method" train.seed="$2" "${settings[@]}" ${added[$method]:-} ${SET:-} 2>&3; } 2>> "$out/$place/$method.time"
  done
  for target in ${TARGETS-$targets}; do
    from 2 "$1, $target by linear probes, seed $2" || continue
    options=(${judged:-}) && [ "$target" != "$whole" ] || options+=(--vectors "$out/$place/vectors")
    [ "$target" != phone ] || options=(--ctm "$data/$1"/{train,test}.ctm)
    seqgen probe "${models[@]}" --train "$data/$1/train" --data "$data/$1/test" --target "$target" --seed "$2" \
      --supervised "${SUPERVISED:-$supervised}" --report "$out/$place/$target.json" "${options[@]}"
  done
  if from 3 "$1, mutual information, seed $2"; then
    python -m egs.bench.representations.information "$out/$place"/{vectors,information} "${STEPS:-$steps}" "$fewest" ${BOUNDS:-infonce alpha:0.01 nwj}
  fi
}
