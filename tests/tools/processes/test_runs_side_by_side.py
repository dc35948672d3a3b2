"""Runs and processes that get in each other's way or do not belong together: one sentence, and nothing mixed up."""

import contextlib
import json
import os
import signal
import time

import pytest
import torch
import yaml

from tests.miniature import TINY
from tests.soak.runs import ForkedRun, free_port


@pytest.fixture
def config(tmp_path, data_root):
    """A config file of a tiny pretraining; runs go to `tmp_path`/out/tiny/cfgs/."""
    path = tmp_path / "cfgs" / "tiny.yaml"
    path.parent.mkdir()
    changes = {"data_root": str(data_root), "output_root": str(tmp_path / "out"), "batch_size": 12, "log_every": 1}
    path.write_text(yaml.dump({**TINY, **changes, "data": {"num_points": 48}}))
    return path


@pytest.fixture
def start(config, tmp_path):
    """start(*arguments, environment=..., prepare=...): main.py in a child; `read(run)` is what it has printed."""
    runs = []

    def run(*arguments, environment=None, prepare=lambda: None):
        log = tmp_path / f"printed{len(runs)}.txt"
        command = ["--config", str(config), *arguments]
        runs.append(ForkedRun(command, log, {"OMP_NUM_THREADS": "1", **(environment or {})}, prepare=prepare))
        runs[-1].log = log
        return runs[-1]

    yield run
    for run in runs:
        if run.code is None:
            run.kill()
            run.wait()


@pytest.fixture
def start_all(start):
    """start_all(n, *arguments, own=...): the processes of one run, with `own(rank)` more arguments and `prepare`."""

    def run(world_size, *arguments, own=lambda rank: (), prepare=lambda: None, **environment):
        shared = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        shared |= {"GLOO_SOCKET_IFNAME": "lo", "RECON_TIMEOUT": "60", **environment}
        places = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} if world_size > 1 else {} for rank in range(world_size)]
        shared = shared if world_size > 1 else environment
        return [
            start(*arguments, *own(rank), environment={**shared, **place}, prepare=prepare)
            for rank, place in enumerate(places)
        ]

    return run


def folder_of(tmp_path, name="default"):
    return tmp_path / "out" / "tiny" / "cfgs" / name


SLOW = pytest.mark.slow
HOW = {"plain": (), "overwrite": ("--overwrite",), "resume": ("--resume",)}


@pytest.mark.parametrize("how", [pytest.param(how, id=name, marks=SLOW if how else ()) for name, how in HOW.items()])
def test_the_second_run_in_a_folder_is_told_who_is_there(start, tmp_path, how):
    first = start("epochs=200", "save_every=1", "--seed", "0")
    assert first.wait_for_step(3)
    second = start("epochs=200", "--seed", "1", *how)
    assert second.wait() == 2
    told = second.log.read_text()
    assert f"is in use by process {first.pid} on " in told and "--exp_name" in told and "Traceback" not in told
    os.kill(first.pid, signal.SIGTERM)
    assert first.wait() == 143 and not (folder_of(tmp_path) / ".lock").exists()
    third = start("epochs=2", "resume_changed=true", "--resume")
    assert third.wait() == 0, third.log.read_text()


def test_two_runs_that_start_together_are_one_run(start, tmp_path):
    both = [start("epochs=3", "--seed", str(seed)) for seed in range(2)]
    codes = sorted(run.wait() for run in both)
    assert codes == [0, 2], [run.log.read_text() for run in both]
    lines = [json.loads(line) for line in (folder_of(tmp_path) / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["split"] == "train"] == [1, 2, 3]
    loser = next(run for run in both if run.code == 2).log.read_text()
    assert "is in use by" in loser or "holds a run already" in loser


def test_a_killed_run_does_not_lock_its_folder(start):
    first = start("epochs=200", "save_every=1")
    assert first.wait_for_step(4)
    first.kill()
    first.wait()
    assert start("epochs=200", "--resume").wait_for_step(1)


def test_tasks_of_srun_without_torchrun_are_refused(start, tmp_path):
    step = {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "3"}
    runs = [start(environment={**step, "SLURM_PROCID": str(number)}) for number in range(3)]
    for run in runs:
        assert run.wait() == 2
        assert "srun has started 3 tasks" in run.log.read_text() and "torchrun" in run.log.read_text()
    assert not folder_of(tmp_path).exists()


DIFFERENCES = {
    "seed": (lambda rank: ("--seed", str(rank)), "seed is 0 in process 0 and 1 in process 1"),
    "points": (lambda rank: (f"data.num_points={48 - rank}",), "data.num_points is 48 in process 0 and 47"),
    "rate": (lambda rank: (f"optim.lr={2e-3 * (1 + rank)}",), "optim.lr is 0.002 in process 0"),
    "precision": (lambda rank: (f"precision={('fp32', 'bf16')[rank]}",), "precision is 'fp32' in process 0"),
}


@pytest.mark.parametrize(
    ("own", "words"),
    [pytest.param(*case, id=name, marks=SLOW if name != "seed" else ()) for name, case in DIFFERENCES.items()],
)
def test_processes_of_different_configs_are_not_one_run(start_all, tmp_path, own, words):
    main, other = start_all(2, own=own)
    assert (main.wait(), other.wait()) == (2, 1)
    assert words in main.log.read_text() and "start all of them" in main.log.read_text()
    assert "error: process 1: another process has ended" in other.log.read_text()
    assert not folder_of(tmp_path).exists()


@pytest.mark.parametrize("skip", [pytest.param(0, marks=SLOW), 1])
def test_the_process_that_saw_nan_reports_it_with_its_own_samples(start_all, tmp_path, skip):
    def prepare():
        from pointrecon.tools.tasks.pretrain import PretrainTask

        original, calls = PretrainTask.training_step, iter(range(1000))

        def training_step(self, batch):
            loss, report = original(self, batch)
            number = next(calls)
            is_bad = number in (2, 4) and os.environ["RANK"] == "1"
            if number == 4:
                (tmp_path / f"ids{os.environ['RANK']}").write_text(" ".join(batch["id"]))
            return (loss * float("nan"), report) if is_bad else (loss, report)

        PretrainTask.training_step = training_step

    runs = start_all(2, "epochs=3", "save_every=1", f"skip_nonfinite={skip}", prepare=prepare)
    assert [run.wait() for run in runs] == [1, 2]
    told = runs[1].log.read_text()
    step = 5 if skip else 3
    assert f"the loss became nan in process 1 at step {step}" in told and "nan-1.pth" in told
    if skip:
        ids = (tmp_path / "ids1").read_text().split()
        assert all(name in told for name in ids) and "step 3 skipped, the loss of process 1" in runs[0].log.read_text()
    assert "the loss became" not in runs[0].log.read_text()
    folder = folder_of(tmp_path)
    assert torch.load(folder / "nan-1.pth", weights_only=True)["step"] == step - 1
    saved = torch.load(folder / "ckpt-last.pth", weights_only=True)
    assert saved["step"] == step - 1
    assert all(value.isfinite().all() for value in saved["base_model"].values() if value.is_floating_point())


CROSSINGS = [(before, after) for before in range(1, 5) for after in range(1, 5) if before != after]


@SLOW
@pytest.mark.parametrize(("before", "after"), CROSSINGS)
def test_a_run_goes_on_with_another_number_of_processes(start_all, tmp_path, before, after):
    """65 samples in batches of 12: 1 process makes 6 steps an epoch (the last one of 5 samples), 4 make 5."""
    options = ("epochs=4", "save_every=1")
    runs = start_all(before, *options)
    assert all(run.wait_for_step(9) for run in runs)
    for run in runs:
        run.kill()
    for run in runs:
        run.wait()
    saved = torch.load(folder_of(tmp_path) / "ckpt-last.pth", weights_only=True)
    runs = start_all(after, *options, "--resume")
    assert [run.wait() for run in runs] == [0] * after, [run.log.read_text() for run in runs]
    lines = [json.loads(line) for line in (folder_of(tmp_path) / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line["split"] == "train"]
    length = lines[-1]["step"] - lines[-2]["step"]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4] and length in (5, 6)
    assert lines[-2]["step"] - lines[-3]["step"] == length
    old = saved["schedule"]["steps_per_epoch"]
    was_told = "an epoch had" in runs[0].log.read_text()
    assert was_told == (old != length)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=SLOW)])
def test_a_stopped_loading_process_does_not_keep_a_run_from_ending(start, tmp_path, number):
    def prepare():
        from pointrecon.tools.training import runner

        original = runner.Runner.train_step

        def train_step(self, *arguments):
            if self.state.step == 3:
                children = f"/proc/{os.getpid()}/task/{os.getpid()}/children"
                for child in open(children).read().split():
                    os.kill(int(child), signal.SIGSTOP)
            original(self, *arguments)

        runner.Runner.train_step = train_step

    run = start("epochs=200", "num_workers=2", prepare=prepare)
    assert run.wait_for_step(4)
    with contextlib.suppress(TimeoutError):
        while run.wait_for_step(run.num_steps + 1, 0.5):  # what had been read before is used up
            pass
    begin = time.monotonic()
    os.kill(run.pid, number)
    assert run.wait() == 128 + number, run.log.read_text()
    assert time.monotonic() - begin < 30
    assert torch.load(folder_of(tmp_path) / "ckpt-last.pth", weights_only=True)["step"] >= 3
    assert "go on with --resume" in run.log.read_text() and not run.has_left_processes()


@SLOW
def test_a_stopped_loading_process_of_another_process_does_not_keep_the_run_from_being_saved(start_all, tmp_path):
    """The main process waits in an exchange, where no signal reaches it, until the other one gives up."""

    def prepare():
        from pointrecon.tools.training import runner

        original = runner.Runner.train_step

        def train_step(self, *arguments):
            if self.state.step == 3 and os.environ["RANK"] == "1":
                children = f"/proc/{os.getpid()}/task/{os.getpid()}/children"
                for child in open(children).read().split():
                    os.kill(int(child), signal.SIGSTOP)
            original(self, *arguments)

        runner.Runner.train_step = train_step

    runs = start_all(2, "epochs=200", "num_workers=2", prepare=prepare, RECON_TIMEOUT="600")
    assert all(run.wait_for_step(4) for run in runs)
    time.sleep(4)
    begin = time.monotonic()
    for run in runs:
        os.kill(run.pid, signal.SIGTERM)
    codes = [run.wait() for run in runs]
    assert codes[0] == 143 and time.monotonic() - begin < 60, [run.log.read_text() for run in runs]
    assert torch.load(folder_of(tmp_path) / "ckpt-last.pth", weights_only=True)["step"] >= 3
    assert start_all(1, "epochs=200", "--resume")[0].wait_for_step(1)


@SLOW
def test_loading_processes_that_give_nothing_end_the_run_which_is_saved(start, tmp_path):
    def prepare():
        from pointrecon.tools.training import runner

        original = runner.Runner.train_step

        def train_step(self, *arguments):
            if self.state.step == 3:
                children = f"/proc/{os.getpid()}/task/{os.getpid()}/children"
                for child in open(children).read().split():
                    os.kill(int(child), signal.SIGSTOP)
            original(self, *arguments)

        runner.Runner.train_step = train_step

    run = start("epochs=200", "num_workers=2", environment={"RECON_TIMEOUT": "3"}, prepare=prepare)
    assert run.wait() == 2 and "have given nothing for" in run.log.read_text(), run.log.read_text()
    saved = torch.load(folder_of(tmp_path) / "ckpt-last.pth", weights_only=True)
    assert saved["step"] >= 3 and not run.has_left_processes()
    assert start("epochs=200", "--resume").wait_for_step(1)
