# Sourced by the launchers: launch USAGE NUM_ARGS MAIN_ARGS... -- ARGS...
# Runs main.py on GPU ARGS[0] ("" or -1: none) from the repository's root, with what follows the launcher's own arguments.
launch() {
  local usage=$1 count=$2 main=()
  shift 2
  while [ "$1" != -- ]; do main+=("$1"); shift; done
  shift
  if [ $# -lt "$count" ]; then
    echo "usage: bash $usage [flags] [key=value ...]" >&2
    exit 2
  fi
  local gpu=$1
  shift "$count"
  cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
  local python=${PYTHON:-${VENV:-.venv}/bin/python}
  command -v "$python" >/dev/null || python=python
  CUDA_VISIBLE_DEVICES=$gpu exec "$python" main.py "${main[@]}" "$@"
}
