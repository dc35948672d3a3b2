#!/usr/bin/env bash
# Tests a fine-tuned network on ModelNet40: bash scripts/test.sh GPU EXP_NAME CKPT [flags] [key=value ...]
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
launch "scripts/test.sh GPU EXP_NAME CKPT" 3 --test --config cfgs/full/finetune_modelnet.yaml --exp_name "${2-}" --ckpts "${3-}" -- "$@"
