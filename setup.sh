#!/usr/bin/env bash
# Makes .venv, installs the checkout and its requirements into it (pyproject.toml) and compiles the point operations if there is a C++ compiler.
# Safe to run again: it does nothing when nothing has changed.
# Environment: PYTHON (interpreter to build .venv with, default python3), VENV (folder, default .venv beside this file).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
python=${PYTHON:-python3}
venv=${VENV:-.venv}
stamp=$venv/.requirements.sha256

fail() { echo "setup: $1" >&2; exit 2; }
# Says nothing when the library is there and up to date. Without it everything works, more slowly.
compile_ops() { "$venv/bin/python" extensions/build.py || true; }

command -v "$python" >/dev/null || fail "no '$python' on PATH; install Python 3.10 or later, or set PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
  || fail "$("$python" --version) is too old; Python 3.10 or later is needed (set PYTHON=/path/to/python3)"

wanted=$(cat pyproject.toml requirements.txt setup.sh | "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
  compile_ops
  exit 0
fi

start=$SECONDS
if [ ! -x "$venv/bin/python" ]; then
  echo "setup: making $venv with $("$python" --version)"
  "$python" -m venv "$venv" 2>/dev/null \
    || fail "could not make '$venv'; on Debian and Ubuntu run: sudo apt install python3-venv"
fi
echo "setup: installing the requirements (torch is large: about 5 GB on disk, a minute or two)"
log=$venv/setup.log
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.txt >"$log" 2>&1 \
  || { tail -n 20 "$log" >&2; fail "pip could not install the requirements; the whole output is in $log"; }
"$venv/bin/python" -c 'import torch, torchvision; torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)' 2>>"$log" \
  || { tail -n 5 "$log" >&2; fail "torch and torchvision do not fit each other; remove $venv and run setup.sh again"; }
echo "$wanted" >"$stamp"
compile_ops
echo "setup: ready in $((SECONDS - start)) s: $("$venv/bin/python" -c 'import torch; print("torch", torch.__version__, "on", "GPU" if torch.cuda.is_available() else "CPU")')"
