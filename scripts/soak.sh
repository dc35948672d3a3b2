#!/usr/bin/env bash
# Kills runs and saves at random, restarts them, watches memory, compares one with several processes, feeds broken files; writes one JSON.
# Usage: bash scripts/soak.sh [--short] [--parts runs saves memory processes fuzz restarts resizes] [--count PART=N ...] [--seconds S] [--seed N] [--json FILE]
# Bounded in count and time; no network but the loopback device
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OMP_NUM_THREADS=1 MPLBACKEND=Agg HF_HUB_OFFLINE=1
exec "${PYTHON:-${VENV:-.venv}/bin/python}" -m tests.soak "$@"
