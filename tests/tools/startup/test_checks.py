"""Flags and configs that contradict each other."""

import pytest

from pointrecon.tools import cli
from pointrecon.tools.startup import checks
from pointrecon.utils.config import load_config
from pointrecon.utils.config_paths import TABLES
from pointrecon.utils.errors import InputError
from tests import ROOT


def check(config, *argv):
    args = cli.parse(["--config", str(ROOT / "cfgs" / config), *argv])
    checks.check(args, load_config(args.config, cli.to_overrides(args)))


@pytest.mark.parametrize(
    "config, argv, message",
    [
        ("quickstart/finetune.yaml", ["--svm", "--ckpts", "x"], "--svm is for .*has none; .*cfgs/svm"),
        ("quickstart/svm.yaml", ["--zeroshot"], "zero_shot among .* has svm, svm, embeddings; .*cfgs/zero"),
        ("quickstart/pretrain.yaml", ["--vote"], "--vote averages predictions .* task=pretrain; leave it out"),
        ("quickstart/svm.yaml", ["--vote"], "task=evaluate; leave it out"),
        ("full/finetune_modelnet.yaml", [], "starts from a pretrained network.*--ckpts PATH, or --scratch_model"),
        ("linear/fewshot.yaml", ["--way", "5"], "starts from a pretrained network"),
        ("mlp3/finetune_scan_objbg.yaml", ["data.num_points=1024"], "starts from a pretrained network"),
        ("partseg/finetune_shapenetpart.yaml", [], "starts from a pretrained network"),
        ("scratch/fewshot.yaml", ["--ckpts", "x"], "trains from random weights .*'.*cfgs/full/fewshot.yaml'"),
        ("quickstart/scratch.yaml", ["init=x"], "leave the checkpoint out, or give '.*cfgs/quickstart/finetune.yaml'"),
        ("pretrain/base.yaml", ["start=random", "init=x"], "or give one that fine-tunes"),
        ("quickstart/svm.yaml", ["--test"], "--test needs a checkpoint"),
        ("quickstart/pretrain.yaml", ["loss.iamge.weight=2"], "loss has 'iamge', .* did you mean 'image'"),
        ("quickstart/pretrain.yaml", ["model.queries.txt=2"], "model.queries has 'txt', .* did you mean 'text'"),
        ("quickstart/finetune.yaml", ["--finetune_model"], "--finetune_model needs a checkpoint"),
    ],
)
def test_contradictions_are_refused(config, argv, message):
    with pytest.raises(InputError, match=message):
        check(config, *argv)


@pytest.mark.parametrize(
    "config, argv",
    [
        ("full/finetune_modelnet.yaml", ["--ckpts", "x"]),
        ("full/finetune_modelnet.yaml", ["--scratch_model"]),
        ("full/finetune_modelnet.yaml", ["--resume"]),
        ("full/finetune_modelnet.yaml", ["--test", "--vote", "--ckpts", "x"]),
        ("quickstart/finetune.yaml", ["--svm", "--ckpts", "x", "evaluators.svm={}"]),
        ("scratch/fewshot.yaml", []),
        ("scratch/fewshot.yaml", ["--test", "--ckpts", "x"]),
        ("svm/modelnet40.yaml", ["--svm"]),
        ("zeroshot/scan_objbg.yaml", ["--zeroshot", "--ckpts", "x"]),
        ("pretrain/base.yaml", ["--start_ckpts", "x"]),
    ],
)
def test_what_fits_is_let_through(config, argv):
    check(config, *argv)


def test_every_config_says_what_it_starts_from():
    """The name of the folder or of the file is what people go by."""
    for path in (ROOT / "cfgs").rglob("*.yaml"):
        if path.parent.name in ("_base_", TABLES):
            continue
        cfg, folder = load_config(path), path.parent.name
        if folder == "scratch" or "scratch" in path.stem:
            assert cfg.start == "random", path
        elif folder in ("full", "linear", "mlp3") or cfg.task in ("classify", "segment"):
            assert cfg.start == "checkpoint", path
        else:
            assert cfg.start == "any", path
