#!/usr/bin/env bash
# What only a machine with an NVIDIA GPU can check, in under 8 minutes and one JSON; see scripts/gpu_check.py, which takes
# the arguments.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ -n "${PYTHON:-}" ] || bash setup.sh
exec "${PYTHON:-${VENV:-.venv}/bin/python}" scripts/gpu_check.py "$@"
