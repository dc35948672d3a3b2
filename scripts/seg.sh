#!/usr/bin/env bash
# Fine-tunes part segmentation on ShapeNetPart: bash scripts/seg.sh GPU EXP_NAME CKPT [flags] [key=value ...]
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
launch "scripts/seg.sh GPU EXP_NAME CKPT" 3 --config cfgs/partseg/finetune_shapenetpart.yaml --finetune_model --exp_name "${2-}" --ckpts "${3-}" -- "$@"
