#!/usr/bin/env bash
# Makes an environment, installs the checkout and its requirements into it (pyproject.toml), and compiles the point
# operations if there is a C++ compiler. Safe to run again: it does nothing when nothing has changed.
#
#   bash setup.sh                          a new .venv with torch for NVIDIA GPUs (6 GB)
#   bash setup.sh --cpu                    ... with torch for CPUs alone (1.5 GB); the same as TORCH_INDEX=URL, the package
#                                          index to take torch and torchvision from, such as one for another CUDA
#   bash setup.sh --system-site-packages   .venv sees the packages of PYTHON, and keeps the torch that is there: a
#                                          container's, a cluster module's
#   VENV=$CONDA_PREFIX bash setup.sh       into an environment that you have; a torch in it is kept, whatever it is
#   bash setup.sh --find-links DIR         without a network, from wheels; made elsewhere on a like machine with
#                                          pip download -d DIR '.[test]' 'setuptools>=77'
#
# In every script: PYTHON is the interpreter, VENV the folder of the environment (default .venv, beside this file). This one
# makes VENV with PYTHON (default python3). The others run PYTHON as it is, where it is given, and VENV's python otherwise.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
python=${PYTHON:-python3}
venv=${VENV:-.venv}
stamp=$venv/.requirements.sha256
record=$venv/.setup_options # a later run without options keeps these

fail() { echo "setup: $1" >&2; exit 2; }
# Says nothing when the library is there and up to date. Without it everything works, more slowly.
compile_ops() { "$venv/bin/python" extensions/build.py || true; }
# explain LOG DOING: what a failed command has to say, the likely cause first.
explain() {
  if grep -qiE "no space left|errno 28|disk quota" "$1"; then
    fail "the disk is full ($(df -Ph "$(dirname "$venv")" | awk 'NR == 2 {print $4 " free on " $6}')) while $2; torch for GPUs \
needs 6 GB, bash setup.sh --cpu 1.5 GB; make room or set VENV to a folder elsewhere (and TMPDIR, if /tmp is small)"
  fi
  tail -n 20 "$1" >&2
}

index=${TORCH_INDEX:-} links='' options=''
while [ $# -gt 0 ]; do
  case $1 in
    --cpu) index=https://download.pytorch.org/whl/cpu ;;
    --system-site-packages) options=--system-site-packages ;;
    --find-links)
      [ -d "${2:-}" ] || fail "--find-links needs a folder with wheels, not '${2:-}'"
      links=$(cd "$2" && pwd)
      shift
      ;;
    *) fail "unknown option '$1'; there are --cpu, --system-site-packages and --find-links DIR" ;;
  esac
  shift
done
chosen="index=$index options=$options"

command -v "$python" >/dev/null || fail "no '$python' on PATH; install Python 3.10 or later, or run PYTHON=/path/to/python3 bash setup.sh"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
  || fail "$("$python" --version) is too old; Python 3.10 or later is needed: PYTHON=/path/to/python3 bash setup.sh"

# What an environment was made with, it keeps.
if [ -f "$record" ]; then
  [ "$chosen" = "index= options=" ] || [ "$chosen" = "$(cat "$record")" ] \
    || fail "'$venv' was made with other options ($(cat "$record")); remove it first, or set VENV to another folder"
  chosen=$(cat "$record")
  index=${chosen#index=} index=${index%% *}
fi
wanted=$(cat pyproject.toml requirements.txt setup.sh | "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
  compile_ops
  exit 0
fi

start=$SECONDS
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# An environment without pip is half made: it is what Debian leaves where python3-venv is missing.
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
  if [ -d "$venv" ] && [ -n "$(ls -A "$venv")" ]; then
    [ -f "$venv/pyvenv.cfg" ] || fail "'$venv' is there, but is no environment of Python; set VENV to another folder"
    echo "setup: '$venv' has no pip in it; it is made anew"
    rm -rf "$venv"
  fi
  echo "setup: making $venv with $("$python" --version)"
  if ! "$python" -m venv $options "$venv" >"$log" 2>&1; then
    [ ! -f "$venv/pyvenv.cfg" ] || rm -rf "$venv"
    explain "$log" "making $venv"
    if grep -qi "ensurepip\|No module named venv" "$log"; then
      fail "could not make '$venv'; on Debian and Ubuntu run: sudo apt install python3-venv"
    fi
    fail "could not make '$venv'; the reason is above"
  fi
  echo "$chosen" >"$record"
fi

pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check)
[ -z "$links" ] || pip+=(--no-index --find-links "$links")
# A torch that is there stays: the wheels of another one are large, and it may not know this machine's GPU.
fixed=$venv/.constraints.txt
"$venv/bin/python" -c '
from importlib.metadata import PackageNotFoundError, version
for name in ("torch", "torchvision"):
    try:
        print(f"{name}=={version(name)}")
    except PackageNotFoundError:
        pass' >"$fixed"
if grep -q "^torch==" "$fixed"; then
  echo "setup: installing the requirements beside $(head -n 1 "$fixed" | sed 's/==/ /')"
elif [ -n "$index" ] && [ -z "$links" ]; then
  echo "setup: installing torch from $index"
  "${pip[@]}" --index-url "$index" "torch>=2.6" "torchvision>=0.21" >"$log" 2>&1 \
    || { explain "$log" "installing torch"; fail "pip could not install torch from $index; its last words are above"; }
else
  echo "setup: installing the requirements (torch for GPUs is large: about 5 GB on disk, a minute or two; --cpu is smaller)"
fi
"${pip[@]}" --constraint "$fixed" -r requirements.txt >"$log" 2>&1 \
  || { explain "$log" "installing the requirements"; fail "pip could not install the requirements; its last words are above${links:+ (the folder needs all of them, and setuptools: see the head of setup.sh)}"; }
"$venv/bin/python" -c 'import torch, torchvision; torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)' >"$log" 2>&1 \
  || { tail -n 5 "$log" >&2; fail "torch and torchvision do not fit each other; install both from one index, or remove $venv and run setup.sh again"; }
echo "$wanted" >"$stamp"
compile_ops
echo "setup: ready in $((SECONDS - start)) s: $("$venv/bin/python" -c 'import torch; print("torch", torch.__version__, "on", "GPU" if torch.cuda.is_available() else "CPU")')"
