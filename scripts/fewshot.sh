#!/usr/bin/env bash
# Fine-tunes on one fold of ModelNet few-shot: bash scripts/fewshot.sh GPU EXP_NAME CKPT WAY SHOT FOLD [flags] [key=value ...]
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
launch "scripts/fewshot.sh GPU EXP_NAME CKPT WAY SHOT FOLD" 6 --config cfgs/full/fewshot.yaml --finetune_model --exp_name "${2-}" --ckpts "${3-}" --way "${4-}" --shot "${5-}" --fold "${6-}" -- "$@"
