# Sourced by every recipe: --corpus DIR --stage N --conf FILE --out DIR --data DIR, as absolute paths; then the working
# directory is the repository's root. A recipe sets its defaults for `conf`, `out` and `data` before.
here=$PWD; root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
corpus=; stage=0
absolute() { case $1 in /*) echo "$1" ;; *) echo "$here/$1" ;; esac; }
while [ $# -gt 0 ]; do
  case $1 in
    --help) sed -n '2,/^set /{s/^# \{0,1\}//;/^set /!p}' "$0"; exit 0 ;;
    --corpus | --stage | --conf | --out | --data)
      [ $# -ge 2 ] || { echo "error: $1 needs a value" >&2; exit 2; }
      case $1 in
        --stage) stage=$2 ;;
        --out) out=$(absolute "$2"); [ -n "${data_given:-}" ] || data=$out/data ;;
        --data) data=$(absolute "$2"); data_given=1 ;;
        *) declare "${1#--}=$(absolute "$2")" ;;
      esac; shift 2 ;;
    *) echo "error: unknown option $1; known: --corpus --stage --conf --out --data --help" >&2; exit 2 ;;
  esac
done
[[ $stage =~ ^[0-9]+$ ]] || { echo "error: --stage $stage; give a number" >&2; exit 2; }
cd "$root"
[ ! -x .venv/bin/seqgen ] || PATH=$PWD/.venv/bin:$PATH
command -v seqgen > /dev/null || { echo "error: seqgen is not installed; run \`make setup\` first" >&2; exit 1; }
from() { [ "$stage" -le "$1" ] && echo "== stage $1: $2" >&2; }
