"""Pretraining configs with one odd value each: a run is built or refused in a sentence, whatever key it is.

`test_keys.py` asks the schema alone; here the value goes through everything that a run does before its first step.
"""

import random

import pytest

import main
from pointrecon.tools.training import runner
from pointrecon.utils.config import flatten, resolve_config
from pointrecon.utils.errors import InputError
from tests import ROOT

CONFIGS = ("pretrain/base", "pretrain/twotower", "pretrain/shards", "quickstart/debshapes", "reconpp/debshapes_small")
CONFIGS += ("reconpp/hybrid_small", "reconpp/transfer_small", "reconpp/zeroshot_small", "reconpp/post_pretrain")
VALUES = (
    "null",
    "-1",
    "0",
    "1",
    "3",
    "0.5",
    "1.5",
    "abc",
    "true",
    "[]",
    "{}",
    "[1]",
    "[1,2,3]",
    "{a: 1}",
    "1e30",
    ".nan",
)
VALUES += ("''", "[null]", "[[1]]", "100000")
SMALL = ("device=cpu", "figures=false", "data.type=SweetHome3D", "data.num_points=48", "batch_size=8", "num_workers=0")
SMALL += ("model.embed_dim=24", "model.depth=2", "model.num_heads=2", "model.num_groups=8", "model.group_size=4")
SMALL += ("model.decoder_depth=1", "model.decoder_num_heads=2", "epochs=1", "log_every=1")
# Options that no config names.
FURTHER = ("data.options.ratio", "data.options.whole", "data.options.unknown", "teachers.image.options.model")
FURTHER += ("teachers.image.options.pretrained", "teachers.text.options.pretrained", "evaluators.svm.split")
FURTHER += ("evaluators.svm.shots", "evaluators.zero_shot.unknown", "model.queries.other", "loss.other.type")
SHARDS = ("data.options.folder", "data.options.num_lanes", "data.options.buffer", "data.options.cache_root")
NUM_DRAWN = 12  # of each config's cases, in the default tests
OWN = ("device", "data_root", "output_root")


class _BuiltError(Exception):
    """The run would begin to train."""


@pytest.fixture
def build(tmp_path, data_root, monkeypatch):
    """build(config, *options): None if the run would begin, otherwise the message that refuses it."""

    def stop(*_):
        raise _BuiltError

    monkeypatch.setattr(runner.Runner, "train", stop)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    places = (f"data_root={data_root}", f"output_root={tmp_path}")

    def run(config, *options):
        try:
            main.run(["--config", str(config), "--exp_name", "x", "--overwrite", *SMALL, *places, *options])
        except _BuiltError:
            return None
        except InputError as error:
            return str(error)
        except SystemExit as stop:
            return str(stop)
        return None

    return run


def cases(name):
    """(options before it, key, value) of a config."""
    cfg = resolve_config(ROOT / "cfgs" / f"{name}.yaml", SMALL).cfg
    found = [((), key, value) for key in (*flatten(cfg), *FURTHER) if key not in OWN for value in VALUES]
    shards = [(("data.type=Shards",), key, value) for key in SHARDS for value in VALUES]
    return found + (shards if name == "pretrain/shards" else [])


def check(build, name, chosen):
    for options, key, value in chosen:
        message = build(ROOT / "cfgs" / f"{name}.yaml", *options, f"{key}={value}")
        assert message is None or (message.strip() and "\n" not in message.strip()), (key, value, message)


@pytest.mark.parametrize("name", CONFIGS)
def test_some_odd_values_are_refused_in_a_sentence(build, name):
    start = ("start=any",) if name == "reconpp/post_pretrain" else ()
    assert build(ROOT / "cfgs" / f"{name}.yaml", *start) is None, "what nothing is wrong with is built"
    check(build, name, random.Random(name).sample(cases(name), NUM_DRAWN))


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_every_odd_value_is_refused_in_a_sentence(build, name):
    check(build, name, cases(name))
