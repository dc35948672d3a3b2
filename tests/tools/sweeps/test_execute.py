"""Many runs in processes: a small table from beginning to end, failures, Ctrl-C, and two sweeps at once."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from pointrecon.tools.sweeps.execute import Options, run_all, status
from pointrecon.tools.sweeps.plan import Run, check_plan
from pointrecon.tools.sweeps.read_table import read_table
from pointrecon.tools.sweeps.report import publish
from pointrecon.tools.sweeps.table import collect, expand
from pointrecon.tools.sweeps.work import locked
from pointrecon.utils.errors import InputError
from tests import ROOT
from tests.programs import fork_program
from tests.tools.sweeps.conftest import TABLE

SMALL = TABLE.replace("seeds: [0, 1]}\nover", "seeds: [0]}\nover").replace("folds: [0, 1]", "folds: [1]")
SMALL = SMALL.replace("seeds: [0, 1], b", "seeds: [0], b")


def runs_of(table):
    return [cell.run for cell in expand(table)]


def test_a_small_table_from_beginning_to_end(write_table, tmp_path):
    """What is done stays, and what depends on a changed pretraining is done again; nothing else."""
    table, lines = read_table(write_table(SMALL), tmp_path / "out"), []
    outcome = run_all(runs_of(table), Options(jobs=2, say=lines.append))
    assert not outcome.failed and len(outcome.done) == 7 and sum("begins" in line for line in lines) == 7
    markdown, paths = publish(collect(expand(table)), table.compare, table.out, ["ablate"])
    assert all(path.is_file() for path in paths)
    content = json.loads((tmp_path / "out" / "table.json").read_text())
    assert set(content["rows"]) == {"recon", "alone", "scratch", "random"} and not content["missing"]
    assert content["costs"]["recon"]["parameters"] > 1e5 and "| recon |" in markdown
    assert content["costs"]["recon"]["seconds"] > 0 and set(content["costs"]["scratch"]) == {"measuring"}
    (svm,) = [run for run in runs_of(table) if run.name == "recon-svm-p0-fold1-seed0"]
    result = json.loads((svm.folder() / "result.json").read_text())
    assert content["rows"]["recon"]["svm"]["mean"] == result["svm_accuracy"]

    lines.clear()
    run_all(runs_of(table), Options(jobs=2, say=lines.append))
    assert not lines
    again = read_table(write_table(SMALL.replace("teachers.image=null, ", "")), tmp_path / "out")
    run_all(runs_of(again), Options(jobs=2, say=lines.append))
    begun = [line.split()[1] for line in lines if "begins" in line]
    assert begun == ["alone-pretrain-p0", "alone-svm-p0-fold1-seed0"]
    assert "teachers.image" in lines[0] and "another checkpoint" in next(line for line in lines if "svm" in line)


def test_a_failure_is_told_and_the_rest_goes_on(write_table, tmp_path):
    broken = SMALL.replace("[teachers.image=null, teachers.text=null]", "[model.embed_dim=23]")
    table = read_table(write_table(broken), tmp_path / "out")
    runs = [run for run in runs_of(table) if run.name.startswith(("alone", "random"))]
    outcome = run_all(runs, Options(jobs=2))
    assert list(outcome.failed) == ["alone-pretrain-p0"] and "23" in outcome.failed["alone-pretrain-p0"]
    assert outcome.left_out == ["alone-svm-p0-fold1-seed0"] and outcome.done == ["random-svm-p0-fold1-seed0"]
    with pytest.raises(InputError, match=r"1 runs failed, and 1 were left out.*'alone-pretrain-p0'.*kept"):
        outcome.check()


def start(table, out, *more):
    command = [sys.executable, str(ROOT / "scripts" / "ablate.py"), str(table), "--out", str(out), "--jobs", "1"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    return subprocess.Popen(
        [*command, "--nice", "0", *more], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def wait_until(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


SLOW = pytest.mark.slow
EPOCHS = 15  # enough to be met at work


@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGINT, marks=SLOW), pytest.param(signal.SIGTERM, marks=SLOW), signal.SIGKILL],
    ids=["INT", "TERM", "KILL"],
)
def test_stopped_and_started_again(write_table, tmp_path, number):
    """The run at work saves (or, if everything is killed, has saved), and the next start goes on from there."""
    path, out = write_table(SMALL, epochs=EPOCHS), tmp_path / "out"
    folder = out / "pretrain" / "cfgs" / "recon-pretrain-p0"
    log = tmp_path / "printed.txt"
    process = fork_program("ablate.py", path, "--out", out, "--jobs", 1, "--nice", 0, "--only", "recon", log=log)
    wait_until(lambda: (folder / "ckpt-last.pth").is_file() or not process.is_alive())
    if number == signal.SIGKILL:
        for pid in holders(folder):
            os.kill(pid, number)
    os.kill(process.pid, number)
    process.join(120)
    assert process.exitcode == (130 if number != signal.SIGKILL else -9), log.read_text()
    assert not (folder / "result.json").exists() and (folder / "ckpt-last.pth").is_file()
    epochs = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["epoch"]
    assert 0 < epochs < EPOCHS
    wait_until(lambda: not holders(folder))
    run = runs_of(read_table(path, out))[0]
    assert not run_all([run], Options()).failed
    assert "resumed after epoch" in (folder / "log.txt").read_text()
    assert status(run) is None


def holders(folder):
    """The processes that have a run at work."""
    lock, found = folder.parent / f".{folder.name}.lock", []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            names = [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            continue
        found += [int(pid)] if str(lock) in names else []
    return found


@SLOW
def test_two_sweeps_share_the_runs(write_table, tmp_path):
    path, out = write_table(SMALL), tmp_path / "out"
    processes = [start(path, out, "--only", "random", "alone") for _ in range(2)]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    for run in runs_of(read_table(path, out)):
        if run.name.startswith(("random", "alone")):
            logs = (run.folder() / "log.txt").read_text()
            assert logs.count("done") <= 1 and status(run) is None
    assert all("+-" in output or "(n=" in output for output, _ in outputs)  # on a console without plus-minus signs


def test_a_run_that_another_has_at_work_is_waited_for(write_table, tmp_path):
    table, lines = read_table(write_table(SMALL), tmp_path / "out"), []
    run = next(run for run in runs_of(table) if run.name.startswith("random"))

    def say(line):
        lines.append(line)
        if "another process" in line:
            lock.__exit__(None, None, None)

    lock = locked(run.folder())
    assert lock.__enter__()
    assert run_all([run], Options(say=say)).done == [run.name]
    assert any("another process has it at work" in line for line in lines)


def test_a_plan_that_cannot_be_is_refused(write_table):
    config = str(write_table().with_name("svm.yaml"))
    with pytest.raises(InputError, match="two runs are called 'a'"):
        check_plan([Run("a", config, "a"), Run("a", config, "b")])
    with pytest.raises(InputError, match="'a' and 'b' have one folder"):
        check_plan([Run("a", config, "same"), Run("b", config, "same")])


@pytest.mark.parametrize(("options", "message"), [({"jobs": 0}, "--jobs is 0"), ({"niceness": 20}, "--nice is 20")])
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Options(**options)
