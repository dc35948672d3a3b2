"""Repeating a config: which runs there are, and the arithmetic."""

import json

import pytest

from pointrecon.tools.sweeps import repeat
from pointrecon.utils.errors import InputError


def plan(arguments=(), **options):
    return repeat.plan("c.yaml", "a", arguments, **options)


def test_the_plan():
    runs = plan(seeds=[0, 5], num_folds=2)
    assert [run.name for run, _, _ in runs] == ["a-seed0-fold0", "a-seed0-fold1", "a-seed5-fold0", "a-seed5-fold1"]
    assert runs[3][0].arguments == ("--seed", "5", "--fold", "1") and runs[3][1:] == (5, 1)
    assert [run.arguments for run, _, _ in plan(num_folds=2)] == [("--fold", "0"), ("--fold", "1")]


@pytest.mark.parametrize(
    ("options", "message"),
    [({}, "--seeds"), ({"seeds": [1, 1]}, "twice"), ({"num_folds": 0}, "--folds is 0")],
    ids=["nothing", "twice", "no fold"],
)
def test_a_plan_that_repeats_nothing_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        plan(**options)


@pytest.mark.parametrize("form", [("--ckpts", "{}"), ("--ckpts={}",), ("init={}",)])
def test_a_checkpoint_for_each_seed_and_fold(tmp_path, form):
    for seed, fold in ((0, 0), (0, 1)):
        (tmp_path / f"s{seed}f{fold}.pth").write_bytes(b"")
    words = [word.replace("{}", str(tmp_path / "s{seed}f{fold}.pth")) for word in form]
    runs = plan(words, seeds=[0], num_folds=2)
    assert [run.arguments[len(form) - 1].endswith(f"s0f{fold}.pth") for run, _, fold in runs] == [True, True]
    with pytest.raises(InputError, match="s7f0.pth' does not exist"):
        plan(words, seeds=[7], num_folds=2)
    with pytest.raises(InputError, match=r"\{fold\}, but nothing is repeated over it; give --folds"):
        plan(words, seeds=[0])


def test_mean_and_deviation(tmp_path):
    runs = {f"r{n}": {"accuracy": value, "seconds": 9.5, "note": "x"} for n, value in enumerate((0.5, 0.6, 0.7))}
    summary = repeat.write_summary(tmp_path / "all.json", runs, [(0, None), (1, None), (2, None)])
    assert summary.keys() == {"accuracy"}
    numbers = summary["accuracy"]
    assert numbers["mean"] == pytest.approx(0.6) and numbers["std"] == pytest.approx(0.1) and numbers["n"] == 3
    assert (numbers["low"], numbers["high"]) == pytest.approx((0.6 - 0.2484, 0.6 + 0.2484), abs=1e-4)
    assert json.loads((tmp_path / "all.json").read_text()) == {"runs": list(runs), "metrics": summary}
    assert "0.6000 ± 0.1000, 95 % 0.3516 to 0.8484   (0.5000  0.6000  0.7000)" in repeat.format_summary(summary)
    assert (tmp_path / "all.csv").read_text().splitlines()[2] == "all,accuracy,,,1,0.6,r1"
    assert "| all | 0.600 ± 0.100 (0.352 to 0.848, n=3) |" in (tmp_path / "all.md").read_text()
    assert "all & 60.0 $\\pm$ 10.0" in (tmp_path / "all.tex").read_text()
    single = repeat.summarize({"r": {"accuracy": 0.5}})
    assert single["accuracy"]["std"] is None and "±" not in repeat.format_summary(single)


def test_the_interval_of_an_accuracy_stays_in_0_to_1(tmp_path):
    runs = {"a": {"accuracy": 0.1, "loss": 0.1}, "b": {"accuracy": 0.15, "loss": 0.15}}
    summary = repeat.write_summary(tmp_path / "all.json", runs, [(0, None), (1, None)])
    assert summary["accuracy"]["low"] == 0.0 and summary["accuracy"]["high"] == pytest.approx(0.4427, abs=1e-4)
    assert summary["loss"]["low"] == pytest.approx(-0.1927, abs=1e-4), "no share"
    assert json.loads((tmp_path / "all.json").read_text())["metrics"]["accuracy"]["low"] == 0.0
    assert "95 % 0.0000 to 0.4427" in repeat.format_summary(summary)
    assert "| 0.125 ± 0.035 (0.000 to 0.443, n=2) | 0.125 ± 0.035 (-0.193 to 0.443" in (tmp_path / "all.md").read_text()


def test_several_processes_are_started_with_torchrun():
    (run,) = [run for run, _, _ in plan(seeds=[3], num_processes=2)]
    command = run.command("--overwrite")
    assert "torch.distributed.run" in command and "--nproc_per_node=2" in command and command[-1] == "--overwrite"
    assert "torch.distributed.run" not in plan(seeds=[3])[0][0].command()
