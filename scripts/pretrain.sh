#!/usr/bin/env bash
# Pretrains the base network on ShapeNet-55: bash scripts/pretrain.sh GPU EXP_NAME [flags] [key=value ...]
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
launch "scripts/pretrain.sh GPU EXP_NAME" 2 --config cfgs/pretrain/base.yaml --exp_name "${2-}" -- "$@"
