"""Signals, through main.py: what is saved, what the process ends with, and that no wait keeps them from it."""

import os
import signal
import time

import pytest
import torch

from pointrecon.tools.tasks.classify import ClassifyTask
from pointrecon.tools.training import runner, saving, signals
from pointrecon.tools.training.batches import TrainBatches
from pointrecon.tools.training.signals import Signals
from tests.tools.training.test_resume import assert_same_run


def content(folder, name="ckpt-last.pth"):
    return torch.load(folder / name, weights_only=True)


def assert_same_weights(folder, other):
    theirs = content(other)["base_model"]
    for key, value in content(folder)["base_model"].items():
        assert torch.equal(value, theirs[key]), key


def send(monkeypatch, number, at_step):
    """The process gets a signal in the middle of a step."""
    original = runner.Runner.train_step

    def train_step(self, *arguments):
        if self.state.step == at_step:
            os.kill(os.getpid(), number)
        original(self, *arguments)

    monkeypatch.setattr(runner.Runner, "train_step", train_step)


@pytest.mark.parametrize("step", [0, 4, 7])  # the first of an epoch, one of the middle, the last
def test_sigterm_saves_and_stops_and_the_run_goes_on_to_the_same_weights(launch, monkeypatch, step):
    _, whole = launch("epochs=2", name="whole")
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stop:
        send(patch, signal.SIGTERM, step)
        launch("epochs=2", name="stopped")
    folder = launch.folder("stopped")
    assert stop.value.code == 143 and content(folder)["step"] == step + 1 and not (folder / "result.json").exists()
    assert launch("epochs=2", "--resume", name="stopped")[0] == 0
    assert_same_weights(whole, folder)


def test_sigusr1_saves_and_goes_on(launch, monkeypatch):
    saved = []
    original = saving.save_last
    monkeypatch.setattr(saving, "save_last", lambda data, folder: saved.append(data["step"]) or original(data, folder))
    send(monkeypatch, signal.SIGUSR1, 2)
    code, _ = launch("epochs=1")
    assert code == 0 and saved == [3, 8]


def test_ctrl_c_saves_and_stops_like_sigterm_and_names_resume(launch, monkeypatch, capfd):
    _, whole = launch("epochs=2", name="whole")
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stop:
        send(patch, signal.SIGINT, 4)
        launch("epochs=2", name="stopped")
    told = capfd.readouterr()
    folder = launch.folder("stopped")
    assert stop.value.code == 130 and content(folder)["step"] == 5
    assert "press Ctrl-C again to stop at once" in told.err and "go on with --resume" in told.out
    assert launch("epochs=2", "--resume", name="stopped")[0] == 0
    assert_same_weights(whole, folder)


def test_a_second_ctrl_c_stops_at_once(launch, monkeypatch, capfd):
    original = runner.Runner.step_optimizer

    def step_optimizer(self, *arguments):
        original(self, *arguments)
        if self.state.step == 4:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("it goes on")

    monkeypatch.setattr(runner.Runner, "step_optimizer", step_optimizer)
    code, folder = launch("epochs=2", "save_every=3")
    told = capfd.readouterr()
    assert code == 130 and content(folder)["step"] == 3
    assert "stopped at once; go on from the last checkpoint with --resume" in told.out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("place", ["data", "validation"])
def test_a_wait_without_end_does_not_keep_a_run_from_stopping(launch, monkeypatch, number, place):
    """What it waits for never comes; it is saved as after the last whole step, and goes on to the same weights."""
    options = ("task=classify", "select=val", "data.val_fraction=0.3", "epochs=2")
    _, whole = launch(*options, name="whole")
    monkeypatch.setattr(signals, "PATIENCE", 0.3)
    owner, name = (TrainBatches, "_read_group") if place == "data" else (ClassifyTask, "validate")
    original = getattr(owner, name)
    calls = iter(range(100))

    def wait(self, *arguments):
        if next(calls) == (6 if place == "data" else 1):
            os.kill(os.getpid(), number)
            time.sleep(60)
        return original(self, *arguments)

    start = time.monotonic()
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr(owner, name, wait)
        launch(*options, name="stopped")
    folder = launch.folder("stopped")
    assert stop.value.code == 128 + number and time.monotonic() - start < 30
    assert content(folder)["step"] == (6 if place == "data" else 8)
    assert launch(*options, "--resume", name="stopped")[0] == 0
    assert_same_run(whole, folder)


def test_a_wait_that_ends_is_waited_for(launch, monkeypatch):
    original = TrainBatches._read_group

    def wait(self):
        if self.loader.sampler.epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
        return original(self)

    monkeypatch.setattr(TrainBatches, "_read_group", wait)
    with pytest.raises(SystemExit):
        launch("epochs=2")
    assert content(launch.folder("run"))["step"] == 9


def test_a_loading_process_does_not_take_the_signals_of_its_group_for_its_own():
    with Signals(is_main=True):
        child = os.fork()
        if not child:
            for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGTERM):
                os.kill(os.getpid(), number)
            os._exit(7 if signal.getsignal(signal.SIGALRM) is signal.SIG_DFL and signal.alarm(0) > 30 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_handlers_are_gone_afterwards_and_other_processes_do_not_stop():
    before = signal.getsignal(signal.SIGTERM)
    with Signals(is_main=False) as handlers:
        os.kill(os.getpid(), signal.SIGTERM)
        assert not handlers.must_stop and not handlers.must_save
    assert signal.getsignal(signal.SIGTERM) is before
