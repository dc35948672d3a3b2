#!/usr/bin/env bash
# Runs tests as on other processors, one setting after the other, and prints a line for each; ends with 1 if one fails.
# Usage: bash scripts/test_matrix.sh [--only NAME]... [pytest arguments, by default the whole suite]
#   bash scripts/test_matrix.sh tests/extensions tests/models
#   PYTHON=other/bin/python bash scripts/test_matrix.sh --only plain tests/models    (another torch)
# What a setting prints is kept in $LOGS/NAME.log (default: a new folder in /tmp) and shown where it fails.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-${VENV:-.venv}/bin/python}
export HF_HUB_OFFLINE=1 MPLBACKEND=Agg
unset PYTHONDONTWRITEBYTECODE
workers=$(env -u OMP_NUM_THREADS nproc)  # as run_tests.sh
[ "$workers" -le 4 ] || workers=4
tests=("$python" -m pytest -c .pytest.ini --rootdir . -q -n "$workers" --dist loadfile -p no:cacheprovider)

# name | variables. A processor that lacks a level of instructions leaves it out.
settings=(
  "plain|"
  "aten-default|ATEN_CPU_CAPABILITY=default"
  "aten-avx2|ATEN_CPU_CAPABILITY=avx2"
  "onednn-sse41|ONEDNN_MAX_CPU_ISA=SSE41"
  "onednn-avx2|ONEDNN_MAX_CPU_ISA=AVX2"
  "mkl-avx2|MKL_ENABLE_INSTRUCTIONS=AVX2"
  "ops-sse2|POINT_OPS_LEVEL=sse2"
  "ops-avx2|POINT_OPS_LEVEL=avx2"
  "ops-avx512|POINT_OPS_LEVEL=avx512"
  "ops-reference|POINT_OPS=reference"
  "all-avx2|ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 POINT_OPS_LEVEL=avx2"
  "all-oldest|ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2 POINT_OPS_LEVEL=sse2"
  "threads-2|OMP_NUM_THREADS=2"
  "threads-3|OMP_NUM_THREADS=3"
  "threads-4|OMP_NUM_THREADS=4"
)

only=" "
while [ "${1:-}" = "--only" ]; do
  case " ${settings[*]%%|*} " in
    *" ${2:-} "*) only="$only$2 " ;;
    *) echo "--only is '${2:-}', but must be one of: ${settings[*]%%|*}" >&2; exit 2 ;;
  esac
  shift 2
done
logs=${LOGS:-$(mktemp -d)}
mkdir -p "$logs"
"$python" -c 'import torch; print("torch", torch.__version__, "on", torch.backends.cpu.get_cpu_capability())' || exit 2

failed=0
for setting in "${settings[@]}"; do
  name=${setting%%|*}
  [ "$only" = " " ] || [[ $only == *" $name "* ]] || continue
  read -ra variables <<< "OMP_NUM_THREADS=1 ${setting#*|}"
  start=$SECONDS
  # Without a library of these sources hundreds of tests would be skipped.
  if ! env "${variables[@]}" \
    "$python" -c 'from pointrecon.extensions import build; build.build()' > "$logs/$name.log" 2>&1; then
    printf '%-14s left out: %s\n' "$name" "$(tail -n 1 "$logs/$name.log")"
    continue
  fi
  if env "${variables[@]}" "${tests[@]}" "$@" > "$logs/$name.log" 2>&1
  then verdict=passed; else verdict=FAILED; failed=1; fi
  printf '%-14s %s  %s (%d s)\n' "$name" "$verdict" "$(tail -n 1 "$logs/$name.log")" $((SECONDS - start))
  [ "$verdict" = passed ] || grep -E '^(FAILED|ERROR|E  )' "$logs/$name.log" | head -n 40
done
exit $failed
