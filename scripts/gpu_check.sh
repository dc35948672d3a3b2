#!/usr/bin/env bash
# What only a machine with an NVIDIA GPU can check, in under 8 minutes and one JSON; `python -m tests.gpu --help` lists
# the arguments.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ -n "${PYTHON:-}" ] || bash setup.sh
exec "${PYTHON:-${VENV:-.venv}/bin/python}" -m tests.gpu "$@"
