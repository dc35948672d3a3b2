#!/usr/bin/env bash
# From nothing to a pretrained, fine-tuned, probed and zero-shot-tested ReCon on the bundled shapes.
# Usage: bash scripts/quickstart.sh [SEED [key=value ...]]     SEED: 0 by default; its results are in experiments/quickstart,
# those of another seed in experiments/quickstart-seed<SEED>. Overrides go to every training run: epochs=2 for a quick look.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seed=${1:-0}
[[ $seed =~ ^[0-9]+$ ]] || { echo "quickstart: the seed is '$seed', but must be a whole number" >&2; exit 2; }
shift || true

bash setup.sh
python=${VENV:-.venv}/bin/python
out=experiments/quickstart$([ "$seed" = 0 ] || echo "-seed$seed")
rm -rf "$out"
mkdir -p "$out"
start=$SECONDS
# Whatever ends this script ends both lanes below and their runs.
trap 'for lane in $(jobs -p); do pkill -P "$lane" || true; kill "$lane" || true; done 2>/dev/null' EXIT

# run NAME CONFIG [arguments]: one run, in the folder experiments/CONFIG/quickstart/NAME-seed$seed
run() {
  local name=$1 config=$2
  shift 2
  "$python" main.py --config "cfgs/quickstart/$config.yaml" --exp_name "$name-seed$seed" --overwrite --seed "$seed" "$@" \
    2>&1 | sed -u "s/^/[$name] /"
}
few="data.shots=5 epochs=28"  # 100 shapes make few steps an epoch
pretrained=experiments/pretrain/quickstart/pretrain-seed$seed/ckpt-last.pth

run pretrain pretrain "$@"

# Two runs side by side, each on half of the cores, use a CPU better than one after the other on all of them.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((($(nproc) + 1) / 2))}
with_pretraining() {
  run zeroshot zeroshot --ckpts "$pretrained"
  run svm svm --ckpts "$pretrained"
  run finetune finetune --ckpts "$pretrained" "$@"
  run finetune_5shot finetune --ckpts "$pretrained" $few "$@"
}
to_compare() {
  run svm_random svm figures=false
  run scratch scratch "$@"
  run scratch_5shot scratch $few "$@"
  run linear_5shot linear --ckpts "$pretrained" $few "$@"
  run linear linear --ckpts "$pretrained" "$@"
}
with_pretraining "$@" &
first=$!
to_compare "$@" &
second=$!
wait "$first"
wait "$second"

"$python" scripts/quickstart_report.py --seed "$seed" --out "$out" --seconds $((SECONDS - start))
