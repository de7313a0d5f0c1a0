# Sourced by recipes that compare estimators of a gradient, after their defaults for `conf`, `out` and `data`: the options of
# options.sh, and the noise of estimators along a training.
. "$(dirname "${BASH_SOURCE[0]}")/variants.sh"

along() { # RUN-SEED OBJECTIVE OPTION ...: train that run anew for ever more UPDATES; then OUT/variances.png, and a table
  local steps traced=() run=$1 objective=$2
  for steps in ${UPDATES:-10 30 100 300 1000 3000}; do
    traced+=("$out/$run-after-$steps")
    from 3 "$run, $steps updates" || continue
    variant "$run-after-$steps" task.data="$data" train.seed="${run##*-}" train.{steps,validate_every,checkpoint_every}="$steps" \
      "objective={name: evidence, evaluation_samples: 0, $objective"
  done
  if from 4 "variances along the way"; then
    python -m egs.gradients "${traced[@]}" "${@:3}" --draws "${DRAWS:-50}" --picture "$out/variances.png" | tee "$out/traced.md"
  fi
}
