"""Repeating a config: which runs there are, that finished ones are kept, and the arithmetic."""

import json
import sys

import pytest

from pointrecon.tools.sweeps import repeat
from pointrecon.utils.errors import InputError


def test_the_plan():
    runs = repeat.plan("a", [0, 5], 2)
    assert [run.name for run in runs] == ["a-seed0-fold0", "a-seed0-fold1", "a-seed5-fold0", "a-seed5-fold1"]
    assert runs[3].flags == ("--seed", "5", "--fold", "1")
    assert [run.flags for run in repeat.plan("a", None, 2)] == [("--fold", "0"), ("--fold", "1")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((None, None), "--seeds"), (([1, 1], None), "twice"), ((None, 0), "--folds is 0")],
    ids=["nothing", "twice", "no fold"],
)
def test_a_plan_that_repeats_nothing_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        repeat.plan("a", *arguments)


@pytest.fixture
def fake_main(tmp_path, monkeypatch):
    """A main.py that writes a result.json; the seed is its accuracy, and seed 13 fails."""
    script = tmp_path / "main.py"
    script.write_text(
        "import json, pathlib, sys\n"
        "value = lambda flag: sys.argv[sys.argv.index(flag) + 1]\n"
        "if value('--seed') == '13': sys.exit(2)\n"
        f"folder = pathlib.Path({str(tmp_path)!r}) / value('--exp_name')\n"
        "folder.mkdir(exist_ok=True)\n"
        "result = {'accuracy': int(value('--seed')) / 10, 'seed': int(value('--seed')), 'seconds': 1.5}\n"
        "(folder / 'result.json').write_text(json.dumps(result))\n"
        f"open({str(tmp_path / 'calls')!r}, 'a').write(value('--seed') + ' ')\n"
    )
    monkeypatch.setattr(repeat, "MAIN", script)
    return tmp_path


def test_finished_runs_are_kept_and_a_failure_is_told(fake_main):
    run = lambda seeds, **options: repeat.run_all(  # noqa: E731
        repeat.plan("a", seeds, None), lambda name: fake_main / name, ["--config", "c"], **options
    )
    with pytest.raises(InputError, match="run 'a-seed13' ended with exit code 2"):
        run([1, 13, 3])
    assert (fake_main / "calls").read_text() == "1 "
    results = run([1, 3])
    assert (fake_main / "calls").read_text() == "1 3 "
    assert results["a-seed3"]["accuracy"] == 0.3
    run([1], overwrite=True)
    assert (fake_main / "calls").read_text() == "1 3 1 "


def test_mean_and_deviation(tmp_path):
    runs = {f"r{n}": {"accuracy": value, "seconds": 9.5, "note": "x"} for n, value in enumerate((0.5, 0.6, 0.7))}
    summary = repeat.write_summary(tmp_path / "all.json", runs)
    assert summary.keys() == {"accuracy"}
    assert summary["accuracy"]["mean"] == pytest.approx(0.6) and summary["accuracy"]["std"] == pytest.approx(0.1)
    assert json.loads((tmp_path / "all.json").read_text()) == {"runs": ["r0", "r1", "r2"], "metrics": summary}
    assert "0.6000 ± 0.1000   (0.5000  0.6000  0.7000)" in repeat.format_summary(summary)
    single = repeat.summarize({"r": {"accuracy": 0.5}})
    assert single["accuracy"]["std"] is None and "±" not in repeat.format_summary(single)


def test_several_processes_are_started_with_torchrun():
    assert repeat._launcher(1) == [sys.executable]
    assert "torch.distributed.run" in repeat._launcher(2) and "--nproc_per_node=2" in repeat._launcher(2)
