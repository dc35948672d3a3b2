"""Losses and gradients that are not finite, through main.py."""

import json

import pytest
import torch

from pointrecon.tools.tasks.pretrain import PretrainTask
from pointrecon.tools.training import runner
from pointrecon.tools.training.guards import LossGuard, Part
from pointrecon.tools.training.parallel.weights import Weights
from pointrecon.utils.errors import InputError


def content(folder, name="ckpt-last.pth"):
    return torch.load(folder / name, weights_only=True)


def spoil(monkeypatch, steps):
    """Makes the loss of some steps NaN."""
    original, calls = PretrainTask.training_step, iter(range(10**6))

    def training_step(self, batch):
        loss, report = original(self, batch)
        return (loss * float("nan"), report) if next(calls) in steps else (loss, report)

    monkeypatch.setattr(PretrainTask, "training_step", training_step)


def spoil_gradient(monkeypatch, step):
    """Makes one number of one gradient infinite in a step; its loss is finite."""
    original, calls = Weights.gradient_norm, iter(range(10**6))

    def gradient_norm(self):
        if next(calls) == step:
            next(p for p in self.task.model.parameters() if p.grad is not None).grad.view(-1)[0] = float("inf")
        return original(self)

    monkeypatch.setattr(Weights, "gradient_norm", gradient_norm)


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
    assert code == 0 and (folder / "log.txt").read_text().count("skipped, the loss of process 0 is not finite:") == 2
    train = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
    assert train["loss"] > 0 and content(folder)["step"] == 8
    spoil(monkeypatch, {2, 5})
    code, _ = launch("epochs=1", "skip_nonfinite=1", name="one")
    assert code == 2 and "at step 6" in capsys.readouterr().err


def test_an_infinite_gradient_under_a_finite_loss_ends_the_run_and_the_checkpoint_before_is_whole(
    launch, monkeypatch, capsys
):
    spoil_gradient(monkeypatch, 5)
    code, folder = launch("epochs=1", "save_every=1", "optim.grad_clip=null")
    error = capsys.readouterr().err
    assert code == 2 and "the norm of the gradients became inf at step 6 (loss " in error and "--resume" in error
    for name, step in (("ckpt-last.pth", 5), ("ckpt-previous.pth", 4)):
        saved = content(folder, name)
        assert saved["step"] == step
        assert all(value.isfinite().all() for value in saved["base_model"].values() if value.is_floating_point())
    monkeypatch.undo()
    assert content(folder, "nan.pth")["step"] == 5


@pytest.mark.parametrize("clip", ["null", "10.0"])
def test_a_skipped_step_leaves_no_trace(launch, monkeypatch, clip):
    """In parameters, running statistics, the optimizer and the average: as if the step had not been."""
    states = {}

    def spoil_input(module, arguments):
        return (arguments[0] * float("inf"), *arguments[1:])

    def note(self, progress):
        parts = {**self.task.model.state_dict(), **self.hooks.evaluated_weights()}
        parts |= {f"{n}.{k}": v for n, s in enumerate(self.optimizer.state.values()) for k, v in s.items()}
        before = {key: value.clone() for key, value in parts.items()}
        embed = self.task.model.encoder.patch_embed
        handle = embed.register_forward_pre_hook(spoil_input) if self.state.step == 3 else None
        train_step(self, progress)
        if handle is not None:
            handle.remove()
        if self.guard.num_skipped != states.get("skipped", 0):
            states["skipped"] = self.guard.num_skipped
            after = {**self.task.model.state_dict(), **self.hooks.evaluated_weights()}
            after |= {f"{n}.{k}": v for n, s in enumerate(self.optimizer.state.values()) for k, v in s.items()}
            states["same"] = all(torch.equal(value, after[key]) for key, value in before.items())
            states["buffers"] = len([key for key in before if "running" in key])

    train_step = runner.Runner.train_step
    monkeypatch.setattr(runner.Runner, "train_step", note)
    code, folder = launch("epochs=1", "skip_nonfinite=1", "ema.decay=0.9", f"optim.grad_clip={clip}")
    assert code == 0 and states["skipped"] == 1 and states["same"] and states["buffers"] >= 2
    assert all(value.isfinite().all() for value in content(folder)["base_model"].values() if value.is_floating_point())
    assert content(folder)["hooks"]["ema"]["num_updates"] == 7


class OnGpu:
    """The surroundings of a run on a GPU, whose loss is not looked at in each step."""

    device, rank, world_size, is_main, folder = torch.device("cuda"), 0, 1, True, None


def test_on_a_gpu_a_loss_is_looked_at_when_shown_and_before_weights_are_saved(tmp_path):
    ctx = OnGpu()
    ctx.folder = tmp_path
    guard = LossGuard({"skip_nonfinite": 0, "log_every": 5}, ctx, torch.nn.Linear(1, 1))
    assert [guard.is_due(step) for step in (0, 3, 4, 9)] == [False, False, True, True] and guard.is_due(0, True)
    nan = torch.tensor(float("nan"))
    parts = [Part(nan, {"loss": nan}, {"id": ["a", "b"]})]
    message = r"nan at step 5 \(it is looked at every 5 steps, and may have come before\).* samples a, b"
    with pytest.raises(InputError, match=message):
        guard.look(parts, torch.ones(()), 4)
    assert (tmp_path / "nan.pth").is_file()


def test_the_runner_has_the_loss_looked_at_before_it_saves(launch, monkeypatch):
    asked, is_due = [], LossGuard.is_due

    def note(self, step, is_saved=False):
        asked.append(is_saved)
        return is_due(self, step, is_saved)

    monkeypatch.setattr(LossGuard, "is_due", note)
    assert launch("epochs=1", "save_every=3")[0] == 0
    assert asked == [False, False, True, False, False, True, False, True]
