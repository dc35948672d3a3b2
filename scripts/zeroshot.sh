#!/usr/bin/env bash
# Zero-shot recognition on ModelNet40: bash scripts/zeroshot.sh GPU EXP_NAME CKPT [flags] [key=value ...]
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
launch "scripts/zeroshot.sh GPU EXP_NAME CKPT" 3 --config cfgs/zeroshot/modelnet40.yaml --zeroshot --exp_name "${2-}" --ckpts "${3-}" -- "$@"
