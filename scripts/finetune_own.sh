#!/usr/bin/env bash
# A classifier of your own shapes: splits the folder, fine-tunes, says how good it is on what was held out.
# Usage: bash scripts/finetune_own.sh DIR [CKPT] [--from_scratch] [--up AXIS] [key=value ...]
#   DIR: one sub-folder a class, or a CSV table path,label,text[,split]; CKPT: the weights that come with the project.
# Results are in experiments/own/<name of DIR>; started again after an interruption, it goes on. --help says more.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ -n "${PYTHON:-}" ] || bash "$root/setup.sh"
exec "${PYTHON:-${VENV:-$root/.venv}/bin/python}" -m pointrecon.tools.prepare.finetune "$@"
