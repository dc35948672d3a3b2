"""Shared-out weights, in real processes: the steps of DDP, and a run that is stopped and goes on with any number."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml

from tests.miniature import TINY
from tests.processes import free_port, run_in_processes

# main.py, once for each list of arguments; with STOP, one process is asked to stop after that step of the last run, or
# with KILL killed in the middle of the next one, where the others wait for it.
PROGRAM = """
import json, os, signal, sys
import main
from pointrecon.tools.training.runner import Runner

commands, stop, kills = json.loads(os.environ["COMMANDS"]), int(os.environ["STOP"]), os.environ["KILL"] == "1"
for number, (port, command) in enumerate(commands, start=1):
    os.environ["MASTER_PORT"] = port  # the store of the run before may still be there
    if stop and number == len(commands):
        step = Runner.train_step
        def train_step(self, progress):
            is_chosen = self.state.step + 1 - kills == stop and self.ctx.rank == self.ctx.world_size - 1
            if is_chosen and kills:
                self.task.compute_loss = lambda *inputs: os.kill(os.getpid(), signal.SIGKILL)
            step(self, progress)
            if is_chosen:
                os.kill(os.getpid(), signal.SIGTERM)
        Runner.train_step = train_step
    sys.argv = ["main.py", *command]
    try:
        code = main.main()
    except SystemExit as error:
        code = error.code
    print("code", code, flush=True)
"""
LOSS = {"image": {"type": "siglip", "learn_temperature": True}, "text": {"type": "infonce"}}


@pytest.fixture
def write(tmp_path, data_root):
    config = tmp_path / "cfgs" / "tiny.yaml"
    config.parent.mkdir()
    model = {**TINY["model"], "drop_path": 0.2}
    options = {"sync_bn": True, "batch_size": 12, "save_every": 1, "ema": {"decay": 0.9}, "loss": LOSS, "model": model}
    data = {**TINY["data"], "drop_last": True}  # a last batch of 5 is not shared alike
    own = {"data": data, "data_root": str(data_root), "output_root": str(tmp_path / "out"), "keep": "all"}
    config.write_text(yaml.dump({**TINY, **options, **own}))
    return config


@pytest.fixture
def launch(write, monkeypatch):
    """launch(processes, arguments of one run, of the next, ..., stop=0, kills=False) -> what each process wrote."""

    def launch(processes, *runs, stop=0, kills=False):
        commands = [
            [free_port(), ["--config", str(write), "--exp_name", name, *arguments]] for name, *arguments in runs
        ]
        monkeypatch.setenv("COMMANDS", json.dumps(commands))
        monkeypatch.setenv("STOP", str(stop))
        monkeypatch.setenv("KILL", str(int(kills)))
        return run_in_processes(PROGRAM, processes, timeout=400, may_fail=kills)

    return launch


def folder(write, name):
    return write.parent.parent / "out" / "tiny" / "cfgs" / name


def losses(path):
    records = map(json.loads, (path / "metrics.jsonl").read_text().splitlines())
    return np.array([record["loss"] for record in records if record["split"] == "train"])


def content(path):
    return torch.load(path / "ckpt-last.pth", weights_only=True)


def assert_alike(one, two, tolerance):
    """Two trees of tensors and numbers, to a tolerance relative to the largest value of each tensor."""
    assert type(one) is type(two)
    if isinstance(one, torch.Tensor):
        assert one.shape == two.shape and one.dtype == two.dtype
        scale = one.abs().max().clamp(min=1e-3) if one.numel() else 1.0
        assert not one.numel() or ((one - two).abs().max() / scale) <= tolerance
    elif isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            assert_alike(one[key], two[key], tolerance)
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(two)
        for pair in zip(one, two, strict=True):
            assert_alike(*pair, tolerance)
    else:
        assert one == two


@pytest.mark.slow
@pytest.mark.parametrize("cached", ["false", "true"])
def test_shared_out_weights_take_the_steps_of_ddp(write, launch, cached):
    """Loss, clipping, averages, checkpoints and the probes in between, with accumulation and blocks computed again."""
    common = ("epochs=2", "accum_steps=2", f"accum_cached={cached}", "evaluators={zero_shot: {every: 1}}")
    outputs = launch(2, ("ddp", *common), ("fsdp", *common, "parallel=fsdp", "checkpoint_blocks=true"))
    assert all(output.count("code 0") == 2 for output in outputs), outputs[0][-3000:]
    whole, shared = folder(write, "ddp"), folder(write, "fsdp")
    assert np.abs(losses(shared) / losses(whole) - 1).max() < 1e-5 and len(losses(whole)) == 2
    kept, theirs = content(shared), content(whole)
    for key in ("base_model", "hooks", "optimizer"):
        assert_alike(kept[key], theirs[key], np.inf)  # names, shapes, kinds
    # Moments are linear in the gradients; Adam's steps make much of those that are rounding alone.
    moments = [[state["exp_avg"] for state in file["optimizer"]["state"].values()] for file in (kept, theirs)]
    largest = max(moment.abs().max() for moment in moments[1])
    assert all((one - two).abs().max() < 1e-4 * largest for one, two in zip(*moments, strict=True))
    results = [json.loads((path / "result.json").read_text()) for path in (whole, shared)]
    assert results[0].keys() == results[1].keys()


@pytest.mark.slow
@pytest.mark.parametrize("kills", [False, True], ids=["asked to stop", "killed"])
def test_a_run_that_is_stopped_goes_on_with_any_number_of_processes(write, launch, kills):
    """One of two processes is stopped in the middle of an epoch; the run is resumed with two, one and three."""
    common = ("epochs=2", "parallel=fsdp")
    outputs = launch(2, ("whole", *common), ("parts", *common), stop=4, kills=kills)
    first, last = outputs
    assert all("code 0\n" in output for output in outputs), first[-3000:]
    if kills:  # the one says nothing more, and the other does not wait for it for ever
        assert last.count("code") == 1 and first.count("code 0\n") == 1
    else:
        assert all(output.endswith("code 143\n") for output in outputs), first[-3000:]
    stopped = content(folder(write, "parts"))["step"]
    assert stopped == 4 if not kills else stopped in (3, 4)  # a checkpoint may still have been on its way to the disk
    assert len(losses(folder(write, "whole"))) == 2
    whole = content(folder(write, "whole"))
    for processes in (2, 1, 3):
        name = f"of{processes}"
        shutil.copytree(folder(write, "parts"), folder(write, name))
        outputs = launch(processes, (name, *common, "--resume"))
        assert all("code 0" in output for output in outputs), outputs[0][-3000:]
        assert any(f"resumed after epoch 0, step {stopped}" in output for output in outputs)
        wanted, actual = losses(folder(write, "whole")), losses(folder(write, name))
        ended = content(folder(write, name))
        if processes == 2:  # the same bits
            assert wanted.tolist() == actual.tolist()
            for key in ("base_model", "hooks", "optimizer"):
                assert_alike(ended[key], whole[key], 0.0)
        else:
            assert np.abs(actual / wanted - 1).max() < 1e-4
            assert_alike(ended["optimizer"]["state"][0].keys(), whole["optimizer"]["state"][0].keys(), 0)
