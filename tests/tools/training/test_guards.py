"""Signals and losses that are no number, through main.py."""

import json
import os
import signal

import pytest
import torch

from pointrecon.tools.tasks.pretrain import PretrainTask
from pointrecon.tools.training import runner
from pointrecon.tools.training.guards import LossGuard, Part, Signals
from pointrecon.utils.errors import InputError


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
    original = runner.save_last
    monkeypatch.setattr(runner, "save_last", lambda data, folder: saved.append(data["step"]) or original(data, folder))
    send(monkeypatch, signal.SIGUSR1, 2)
    code, _ = launch("epochs=1")
    assert code == 0 and saved == [3, 8]


def test_handlers_are_gone_afterwards_and_other_processes_do_not_stop():
    before = signal.getsignal(signal.SIGTERM)
    with Signals(is_main=False) as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert not signals.must_stop and not signals.must_save
    assert signal.getsignal(signal.SIGTERM) is before


def spoil(monkeypatch, steps):
    """Makes the loss of some steps NaN."""
    original, calls = PretrainTask.training_step, iter(range(10**6))

    def training_step(self, batch):
        loss, report = original(self, batch)
        return (loss * float("nan"), report) if next(calls) in steps else (loss, report)

    monkeypatch.setattr(PretrainTask, "training_step", training_step)


def test_a_loss_that_is_no_number_leaves_evidence(launch, monkeypatch, capsys):
    spoil(monkeypatch, {5})
    code, folder = launch("epochs=1", "save_every=3")
    error = capsys.readouterr().err
    assert code == 2 and "the loss became nan at step 6 (loss " in error and "chamfer" in error
    evidence = content(folder, "nan.pth")
    assert len(evidence["batch"]["id"]) == 8 and all(name in error for name in evidence["batch"]["id"])
    assert evidence["step"] == 5 and evidence["batch"]["points"].shape[0] == 8
    assert all(value.isfinite().all() for value in evidence["base_model"].values() if value.is_floating_point())
    assert content(folder)["step"] == 3  # what was saved before is still there


def test_some_steps_may_be_left_out(launch, monkeypatch, capsys):
    spoil(monkeypatch, {2, 5})
    code, folder = launch("epochs=1", "skip_nonfinite=2", name="two")
    assert code == 0 and (folder / "log.txt").read_text().count("left out:") == 2
    train = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
    assert train["loss"] > 0 and content(folder)["step"] == 8
    spoil(monkeypatch, {2, 5})
    code, _ = launch("epochs=1", "skip_nonfinite=1", name="one")
    assert code == 2 and "at step 6" in capsys.readouterr().err


class OnGpu:
    """The surroundings of a run on a GPU, whose loss is not looked at in each step."""

    device, rank, folder = torch.device("cuda"), 0, None


@pytest.mark.parametrize(("step", "is_saved", "looks"), [(0, False, False), (0, True, True), (4, False, True)])
def test_on_a_gpu_a_loss_is_looked_at_when_shown_and_before_weights_are_saved(tmp_path, step, is_saved, looks):
    ctx = OnGpu()
    ctx.folder = tmp_path
    guard = LossGuard({"skip_nonfinite": 0, "log_every": 5}, ctx)
    nan = torch.tensor(float("nan"))
    parts = [Part(nan, {"loss": nan}, {"id": ["a", "b"]})]
    if not looks:
        assert guard.look(parts, step, torch.nn.Linear(1, 1), is_saved) == (False, None)
        return
    message = rf"nan at step {step + 1} \(it is looked at every 5 steps, and may have come before\).* shapes a, b"
    with pytest.raises(InputError, match=message):
        guard.look(parts, step, torch.nn.Linear(1, 1), is_saved)
    assert (tmp_path / "nan.pth").is_file()


def test_the_runner_has_the_loss_looked_at_before_it_saves(launch, monkeypatch):
    asked, look = [], LossGuard.look

    def note(self, parts, step, model, is_saved):
        asked.append(is_saved)
        return look(self, parts, step, model, is_saved)

    monkeypatch.setattr(LossGuard, "look", note)
    assert launch("epochs=1", "save_every=3")[0] == 0
    assert asked == [False, False, True, False, False, True, False, True]
