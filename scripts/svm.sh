#!/usr/bin/env bash
# Fits a linear SVM on frozen features of ModelNet40: bash scripts/svm.sh GPU EXP_NAME CKPT [flags] [key=value ...]
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
launch "scripts/svm.sh GPU EXP_NAME CKPT" 3 --config cfgs/svm/modelnet40.yaml --svm --exp_name "${2-}" --ckpts "${3-}" -- "$@"
