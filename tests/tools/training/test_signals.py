"""Signals, through main.py: what is saved, what the process ends with, and that no wait keeps them from it."""

import os
import signal

import pytest
import torch

from pointrecon.tools.training import runner, saving
from pointrecon.tools.training.signals import Signals


def content(folder, name="ckpt-last.pth"):
    return torch.load(folder / name, weights_only=True)


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
    for key, value in content(whole)["base_model"].items():
        assert torch.equal(value, content(folder)["base_model"][key]), key


def test_sigusr1_saves_and_goes_on(launch, monkeypatch):
    saved = []
    original = saving.save_last
    monkeypatch.setattr(saving, "save_last", lambda data, folder: saved.append(data["step"]) or original(data, folder))
    send(monkeypatch, signal.SIGUSR1, 2)
    code, _ = launch("epochs=1")
    assert code == 0 and saved == [3, 8]


def test_handlers_are_gone_afterwards_and_other_processes_do_not_stop():
    before = signal.getsignal(signal.SIGTERM)
    with Signals(is_main=False) as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert not signals.must_stop and not signals.must_save
    assert signal.getsignal(signal.SIGTERM) is before
