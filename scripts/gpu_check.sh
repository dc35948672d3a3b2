#!/usr/bin/env bash
# What only a machine with an NVIDIA GPU can check, in under 8 minutes and one JSON; see scripts/gpu_check.py, which takes
# the arguments. PYTHON: an interpreter that has torch and the other requirements; default .venv/bin/python after setup.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -z "${PYTHON:-}" ]; then
  bash setup.sh
  PYTHON=${VENV:-.venv}/bin/python
fi
exec "$PYTHON" scripts/gpu_check.py "$@"
