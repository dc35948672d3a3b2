#!/usr/bin/env bash
# From nothing to a pretrained, fine-tuned, probed and zero-shot-tested ReCon on the bundled shapes.
# Usage: bash scripts/quickstart.sh [SEED [key=value ...]]     SEED: 0 by default; its results are in experiments/quickstart,
# those of another seed in experiments/quickstart-seed<SEED>. Overrides go to every training run: epochs=2 for a quick look.
# Started again after an interruption, it goes on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seed=${1:-0}
[[ $seed =~ ^[0-9]+$ ]] || { echo "quickstart: the seed is '$seed', but must be a whole number" >&2; exit 2; }
shift || true

[ -n "${PYTHON:-}" ] || bash setup.sh
exec "${PYTHON:-${VENV:-.venv}/bin/python}" -m pointrecon.tools.sweeps.quickstart --seed "$seed" "$@"
