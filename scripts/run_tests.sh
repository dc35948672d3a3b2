#!/usr/bin/env bash
# Sets up, checks the style and runs the tests, those of the architecture among them. Further arguments go to pytest:
# scripts/run_tests.sh tests/utils -x
# Left out by default are the tests marked gpu, slow and weights; choose them with -m: scripts/run_tests.sh -m gpu
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ -n "${PYTHON:-}" ] || bash setup.sh
python=${PYTHON:-${VENV:-.venv}/bin/python}
# The tests' networks are tiny: threads wait for each other longer than they compute, most of all on a busy machine.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} MKL_NUM_THREADS=${MKL_NUM_THREADS:-1}
# Hundreds of processes start: each would compile the modules anew.
unset PYTHONDONTWRITEBYTECODE
# Nothing may be fetched.
export HF_HUB_OFFLINE=1 MPLBACKEND=Agg

"$python" -m ruff check .
bash scripts/check_types.sh

# A process a core, four at most, each with whole files; what needs a GPU runs one after the other.
workers=$(env -u OMP_NUM_THREADS nproc)  # which would count that variable's threads instead
[ "$workers" -le 4 ] || workers=4
case " $* " in *gpu*) workers=0 ;; esac
"$python" -m pytest -c .pytest.ini --rootdir . -q -n "$workers" --dist loadfile "$@"
