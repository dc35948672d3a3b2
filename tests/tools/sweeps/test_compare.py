"""Comparing networks: which runs there are, what is kept, the arithmetic of the pairs, and one real miniature."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scipy.stats import ttest_rel

from pointrecon.tools.sweeps import compare as module
from pointrecon.tools.sweeps.compare import Plan, compare, format_tables, list_runs, paired_p, run_all
from pointrecon.utils.errors import InputError
from tests import ROOT

TINY = {"embed_dim": 16, "depth": 1, "num_heads": 2, "num_groups": 4, "group_size": 4, "patch_width": 16}


@pytest.fixture
def checkpoints(tmp_path):
    """A checkpoint for each of two folds; what is in them is not read here."""
    for fold in (0, 1):
        (tmp_path / f"net{fold}.pth").write_bytes(b"")
    return {"mine": str(tmp_path / "net{fold}.pth")}


def test_every_network_is_probed_and_tuned_on_every_fold_with_every_seed(tmp_path, checkpoints):
    plan = Plan(checkpoints, [0, 1], [3, 4], ROOT / "cfgs/quickstart", ["epochs=1"])
    runs = list_runs(plan, str(tmp_path))
    assert len(runs) == 4 * (1 + 2 + 3) == len({run.result for run in runs})
    mine = [run for run in runs if run.network == "mine" and run.cell == (1, 4)]
    assert [tuple(run.metrics) for run in mine] == [("svm", "svm_5shot"), ("finetune_5shot",), ("finetune",)]
    assert all(str(tmp_path / "net1.pth") in run.arguments and "data.fold=1" in run.arguments for run in mine)
    assert all(run.arguments[-1] == "epochs=1" and "4" in run.arguments for run in mine)
    without = [run for run in runs if run.network != "mine"]
    assert not any("--ckpts" in run.arguments for run in without)
    configs = {run.network: Path(run.arguments[1]).name for run in without}
    assert configs == {"random": "svm.yaml", "scratch": "scratch.yaml"}


@pytest.mark.parametrize(
    ("networks", "message"),
    [({}, "--ckpt NAME=PATH"), ({"scratch": "x"}, "call yours something else"), ({"a": "no{fold}.pth"}, "no0.pth")],
    ids=["none", "taken", "missing"],
)
def test_what_cannot_be_compared_is_refused(networks, message):
    with pytest.raises(InputError, match=message):
        Plan(networks, [0], [0], ROOT / "cfgs/quickstart")


def test_pairs_are_those_of_one_fold_and_seed_and_folds_count_once():
    random = np.random.RandomState(0)
    cells = [(fold, seed) for fold in range(5) for seed in range(3)]
    a, b = random.rand(2, 5, 3)
    table = lambda values: {f"fold {f} seed {s}": float(values[f, s]) for f, s in cells}  # noqa: E731
    numbers = {"random": {"svm": table(b)}, "mine": {"svm": table(a), "finetune": table(a)}}
    (row,) = compare(numbers)
    assert (row["network"], row["against"], row["metric"]) == ("mine", "random", "svm")
    assert row["gain"] == pytest.approx((a - b).mean()) and (row["pairs"], row["folds"]) == (15, 5)
    assert row["wins"] == (a > b).sum()
    assert row["p"] == pytest.approx(ttest_rel(a.mean(1), b.mean(1)).pvalue)
    text = format_tables(numbers, [row])
    assert f"{a.mean():.3f} ± {a.std(ddof=1):.3f}" in text and f"{100 * (a - b).mean():+.1f}" in text


def test_a_single_fold_has_no_p():
    assert paired_p([0.1]) is None and paired_p([0.1, 0.1]) is None


@pytest.mark.slow
def test_a_miniature_runs_and_goes_on(tmp_path, monkeypatch):
    """Real runs of a pretrained checkpoint; what is done stays, unless the checkpoint changes."""
    import main

    configs = tmp_path / "cfgs"
    configs.mkdir()
    shared = {
        "model": {**TINY, "decoder_depth": 1, "decoder_num_heads": 2},
        "data": {"num_points": 32},
        "device": "cpu",
    }
    shared |= {
        "output_root": str(tmp_path / "out"),
        "data_root": str(ROOT / "data"),
        "batch_size": 64,
        "figures": False,
    }
    tuned = {"task": "classify", "classifier": {"head": "linear"}}
    probe = {"task": "evaluate", "epochs": 0, "evaluators": {"svm": {}, "svm_5shot": {"type": "svm", "shots": 5}}}
    changes = {"pretrain": {}, "finetune": tuned, "scratch": tuned, "svm": probe}
    for name, more in changes.items():
        (configs / f"{name}.yaml").write_text(yaml.dump({**shared, "epochs": 1, **more}))
    monkeypatch.setattr(sys, "argv", ["main.py", "--config", str(configs / "pretrain.yaml"), "--exp_name", "p"])
    assert main.main() == 0
    checkpoint = tmp_path / "out" / "pretrain" / "cfgs" / "p" / "ckpt-last.pth"
    plan = Plan({"mine": str(checkpoint)}, [0], [0, 1], configs)
    monkeypatch.setattr(module, "TUNED_FEW", ("finetune", ("data.shots=5",), module.TUNED_FEW[2]))
    runs = list_runs(plan, str(tmp_path / "out"))
    torch.set_num_threads(1)
    numbers = run_all(runs, 2)
    assert set(numbers) == {"mine", "random", "scratch"} and set(numbers["mine"]) == set(module.METRICS)
    assert all(
        0 <= value <= 1 for metrics in numbers.values() for cells in metrics.values() for value in cells.values()
    )
    assert all(module.is_done(run) for run in runs)
    assert module.read_numbers(runs) == numbers
    os.utime(checkpoint, (time.time() + 10,) * 2)
    assert sum(not module.is_done(run) for run in runs) == 6
    assert not any(
        module.is_done(run) for run in list_runs(Plan({"mine": str(checkpoint)}, [0], [0], configs), "nowhere")
    )
