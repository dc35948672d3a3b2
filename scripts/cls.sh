#!/usr/bin/env bash
# Fine-tunes on ScanObjectNN PB_T50_RS: bash scripts/cls.sh GPU EXP_NAME CKPT [flags] [key=value ...]
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
launch "scripts/cls.sh GPU EXP_NAME CKPT" 3 --config cfgs/full/finetune_scan_hardest.yaml --finetune_model --exp_name "${2-}" --ckpts "${3-}" -- "$@"
