# Sourced by the recipes of total correlation behind their first stage, after the options of options.sh: codes of the pictures
# in `pictures` by every one of `rates`, with every weight of BETAS and seed of SEEDS, then their table and plane.
compared=()
for rate in $rates; do for beta in ${BETAS:-1 4 8}; do for seed in ${SEEDS:-0}; do
  compared+=("$out/$rate-$beta-$seed")
  from 1 "$rate, weight $beta, seed $seed" || continue
  case $rate in
    whole) control="{name: weighted, beta: $beta}" ;;
    *) control="{name: total-correlation, beta: $beta, estimate: $rate}" ;;
  esac
  variant "$rate-$beta-$seed" "task.data=$pictures" "objective.rate=$control" "train.seed=$seed"
done; done; done
if from 2 "tables"; then
  python tools/report_table.py "${compared[@]}"
  seqgen curve "${compared[@]}" -o "$out/curve.png"
fi
