#!/usr/bin/env bash
# What only a machine with an NVIDIA GPU can check: the tests marked gpu, and training there in both precisions.
# Usage: bash scripts/gpu_check.sh [folder for the run folders]   PYTHON: interpreter, default .venv/bin/python after setup.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${1:-experiments/gpu_check}
if [ -z "${PYTHON:-}" ]; then
  bash setup.sh
  PYTHON=${VENV:-.venv}/bin/python
fi
"$PYTHON" -m pytest -c .pytest.ini --rootdir . -q -m gpu
POINT_OPS_COOPERATIVE=1 timeout 300 "$PYTHON" -m pytest -c .pytest.ini --rootdir . -q -m gpu tests/extensions/test_gpu.py
"$PYTHON" scripts/bench_ops.py --device cuda --json "$out/bench_ops.json"
for precision in fp32 bf16; do
  "$PYTHON" main.py --config cfgs/quickstart/pretrain.yaml --exp_name "$precision" --overwrite device=cuda precision=$precision epochs=20 output_root="$out"
  "$PYTHON" main.py --config cfgs/quickstart/finetune.yaml --exp_name "$precision" --overwrite device=cuda precision=$precision output_root="$out" --ckpts "$out/pretrain/quickstart/$precision/ckpt-last.pth"
  "$PYTHON" main.py --config cfgs/pretrain/base.yaml --exp_name "$precision" --overwrite device=cuda precision=$precision epochs=2 figures=false output_root="$out" \
    data.type=SweetHome3D teachers.image.type=CachedFeatures teachers.text.type=CachedFeatures
done
