"""Keys that were set for nothing."""

import sys
from fnmatch import fnmatchcase

import pytest

from pointrecon.tools.startup import unread
from pointrecon.utils import config
from pointrecon.utils.config import flatten, load_schema, resolve_config
from pointrecon.utils.config_paths import TABLES
from tests import ROOT

LEAVES = sorted(path for path in (ROOT / "cfgs").rglob("*.yaml") if path.parent.name not in ("_base_", TABLES))


def warn(path, *overrides):
    path = str(ROOT / "cfgs" / path)
    return unread.warnings(resolve_config(path, overrides), path)


@pytest.mark.parametrize(
    "path, override, reason",
    [
        ("full/finetune_modelnet.yaml", "loss.chamfer.weight=5", "losses are those of task=pretrain"),
        ("full/finetune_modelnet.yaml", "teachers.image.num_views=2", "teachers are asked in pretraining"),
        ("full/finetune_modelnet.yaml", "model.mask_ratio=0.9", "nothing is masked"),
        ("full/finetune_modelnet.yaml", "segmenter.dropout=0.1", "only task=segment"),
        ("pretrain/base.yaml", "classifier.head=linear", "only task=classify"),
        ("pretrain/base.yaml", "num_votes=3", "only classifiers and segmenters vote"),
        ("pretrain/base.yaml", "loss.contrast.temperature=0.2", "its weight is 0"),
        ("pretrain/base.yaml", "model.class_token=true", "model.type=ReCon has none"),
        ("linear/finetune_modelnet.yaml", "classifier.dropout=0.1", "a linear head has no dropout"),
        ("svm/modelnet40.yaml", "optim.lr=1", "nothing is trained (epochs is 0)"),
        ("svm/modelnet40.yaml", "data.augment.jitter=0.1", "and there are no votes"),
        ("full/finetune_modelnet.yaml", "data.val_fraction=0.3", "only select=val"),
    ],
)
def test_a_key_that_changes_nothing_is_named(path, override, reason):
    key = override.split("=")[0]
    found = warn(path, override)
    assert len(found) == 1 and found[0].startswith(f"{key}=") and "(command line) changes nothing" in found[0]
    assert reason in found[0]


@pytest.mark.parametrize(
    "path, override",
    [
        ("full/finetune_modelnet.yaml", "optim.lr=1"),
        ("pretrain/base.yaml", "loss.chamfer.weight=5"),
        ("pretrain/twotower.yaml", "model.class_token=true"),
        ("zeroshot/modelnet40.yaml", "teachers.text.center=true"),
        ("pretrain/base.yaml", "loss.contrast={weight: 0.1, temperature: 0.2}"),
    ],
)
def test_a_key_that_is_read_is_not(path, override):
    assert warn(path, override) == []


@pytest.mark.parametrize("path", LEAVES, ids=lambda path: str(path.relative_to(ROOT / "cfgs")))
def test_no_config_of_ours_says_something_for_nothing(path):
    assert unread.warnings(resolve_config(path), str(path)) == []


def test_what_a_config_says_of_training_counts_only_if_it_trains(tmp_path):
    path = tmp_path / "leaf.yaml"
    path.write_text("task: classify\noptim: {lr: 1.0e-3}\nloss: {chamfer: {weight: 2.0}}\n")
    assert len(unread.warnings(resolve_config(path), str(path))) == 1
    found = unread.warnings(resolve_config(path, ["epochs=0", "optim.betas=[0.5, 0.9]"]), str(path))
    assert sorted(item.split("=")[0] for item in found) == ["loss.chamfer.weight", "optim.betas"]


def test_the_config_of_a_run_folder_is_no_intention(tmp_path):
    resolved = resolve_config(ROOT / "cfgs/full/finetune_modelnet.yaml")
    config.save_config(resolved.cfg, tmp_path / "config.yaml")
    path = tmp_path / "config.yaml"
    assert unread.warnings(resolve_config(path), str(path)) == []
    assert len(unread.warnings(resolve_config(path, ["loss.chamfer.weight=2"]), str(path))) == 1


def test_every_pattern_is_that_of_a_key():
    keys = load_schema().keys()
    patterns = [pattern for condition in unread.CONDITIONS for pattern in condition.patterns]
    assert not [pattern for pattern in patterns if not any(fnmatchcase(key, pattern) for key in keys)]


class Recorder(dict):
    """A config that notes which of its keys are read, but for readings of the whole, to save or to compare it."""

    WHOLE = {"flatten", "to_plain", "merge", "save_config", "_shared_values", "warnings", "_unread"}

    def __init__(self, content, noted, prefix=""):
        self._noted, self._prefix = noted, prefix
        for key, value in content.items():
            inner = Recorder(value, noted, f"{prefix}{key}.") if isinstance(value, dict) else value
            super().__setitem__(key, inner)

    def __getitem__(self, key):
        value = super().__getitem__(key)
        if not isinstance(value, Recorder) and sys._getframe(1).f_code.co_name not in self.WHOLE:
            self._noted.add(f"{self._prefix}{key}")
        return value

    def __getattr__(self, key):
        return self[key]


# Networks are built with these where nothing comes of it, too.
TOLD_ANYWAY = {"model.embed_masked", "model.class_token", "model.drop_path", "classifier.stream", "classifier.dropout"}
TOLD_ANYWAY |= {f"model.{key}" for key in "colors color_fill large_embedding layer_scale skip_origin step".split()}
TOLD_ANYWAY |= {"loss.chamfer.color", "loss.chamfer.type", "loss.chamfer.weight", "loss.contrast.weight"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["task=pretrain", "epochs=1"],
        ["task=classify", "epochs=1"],
        ["task=classify", "epochs=0", "classifier.head=linear"],
        ["task=evaluate", "--svm", "evaluators.svm.C=1"],
    ],
    ids=["pretrain", "classify", "test", "evaluate"],
)
def test_what_is_called_unread_is_not_read(launch, monkeypatch, arguments):
    noted, seen = set(), []

    def record(*given):
        resolved = resolve_config(*given)
        seen.append(resolved.cfg)
        return resolved._replace(cfg=Recorder(resolved.cfg, noted))

    monkeypatch.setattr(config, "resolve_config", record)
    code, _ = launch(*arguments)
    assert code == 0 and len(noted) > 20
    everything = config.Resolved(seen[0], dict.fromkeys(flatten(seen[0]), config.COMMAND_LINE))
    called_unread = {key for key, _ in unread._unread(everything)}
    assert len(called_unread) > 5
    assert (called_unread - TOLD_ANYWAY) & noted == set()
