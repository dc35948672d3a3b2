"""What is fuzzed of --resume: the last checkpoint, the one before and the metrics of an interrupted run."""

import functools
import json
import logging
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from pointrecon.tools.checkpoints.snapshot import State, make_content, read_last, save_last
from pointrecon.tools.training.hooks import HookList
from pointrecon.tools.training.optim import make_optimizer
from pointrecon.tools.training.parallel.weights import Weights
from pointrecon.tools.training.restore import restore
from pointrecon.utils.config import load_config
from pointrecon.utils.log import MetricsWriter
from tests import ROOT
from tests.fuzzing.forms import Form, WrongResult
from tests.fuzzing.mutations import spoil_bytes, spoil_text, spoil_tree, spoil_zip
from tests.fuzzing.targets.pickles import spoil_pickle
from tests.fuzzing.targets.samples import JSON_VALUES
from tests.fuzzing.targets.weights import spoil_tensor

STEPS, EPOCHS = 5, 4
LOGGER = logging.getLogger("recon")


@functools.cache
def config(is_changed: bool) -> Any:
    """The config of the run; with `resume_changed` another one goes on from its checkpoint."""
    overrides = [f"epochs={EPOCHS}", "num_workers=0", "device=cpu"]
    if is_changed:
        overrides += ["resume_changed=true", "batch_size=4", "optim.lr=1e-5"]
    return load_config(ROOT / "cfgs" / "quickstart" / "finetune.yaml", overrides)


def make_network() -> torch.nn.Module:
    """A network of a few tensors: what is fuzzed is what a run makes of its checkpoint, not the network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
        return torch.nn.ModuleDict({"encoder": body, "head": torch.nn.Linear(4, 2)})


def _step(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    optimizer.step()


def write_run(folder: Path, has_previous: bool) -> None:
    """A run that was interrupted in its third epoch; with the checkpoint before, which saves it from damage."""
    model, cfg = make_network(), config(False)
    optimizer = make_optimizer(model, cfg["optim"])
    for step in (10, 12) if has_previous else (12,):
        _step(model, optimizer)
        state = State(epoch=2, step=step, epoch_steps=step - 10, best=0.5, best_metrics={"epoch": 1, "acc": 0.5})
        state.metrics, state.num_records, state.sums = {"loss": 1.5}, 4, {"loss": [3.0, 8.0]}
        parts: dict[str, Any] = {"hooks": HookList([]), "notes": {}, "steps_per_epoch": STEPS}
        save_last(make_content(state, model, optimizer, cfg, total_steps=STEPS * EPOCHS, **parts), folder)
    records = [{"split": split, "epoch": epoch, "step": 5 * epoch, "loss": 1.0 / epoch, "acc": None}
               for epoch in (1, 2) for split in ("train", "val")]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def spoil_run(path: Path, rng: random.Random) -> None:
    """Changes what a checkpoint holds, opcodes, records of the archive, lines of the metrics, or just bytes."""
    data, kind = path.read_bytes(), rng.random()
    if path.suffix == ".jsonl":
        lines = data.splitlines()
        if kind < 0.4:
            place = rng.randrange(len(lines))
            tree = spoil_tree(json.loads(lines[place]), rng, lambda value, rng: rng.choice(JSON_VALUES))
            lines[place] = json.dumps(tree, default=str, skipkeys=True).encode()
            path.write_bytes(b"".join(line + b"\n" for line in lines))
        elif kind < 0.7:
            path.write_text(spoil_text(data.decode(), rng), encoding="utf-8", errors="surrogatepass")
        else:
            path.write_bytes(spoil_bytes(data, rng))
    elif kind < 0.65:
        content = torch.load(path, weights_only=True)
        part = rng.choice((None, "optimizer", "optimizer", *content))
        leaf = functools.partial(_spoil_part, part=part)
        if part is None:
            content = spoil_tree(content, rng, spoil_tensor)
        else:
            content[part] = leaf(content[part], rng)
        torch.save(content, path)
    elif kind < 0.8:
        path.write_bytes(spoil_zip(data, rng))
    elif kind < 0.9:
        spoil_pickle(path, rng)
    else:
        path.write_bytes(spoil_bytes(data, rng))


def _spoil_part(value: Any, rng: random.Random, part: str | None) -> Any:
    """Changes one of the parts of a checkpoint; of the optimizer mostly the state of a parameter."""
    if part == "optimizer" and rng.random() < 0.7:
        states = dict(value["state"])
        key = rng.choice(list(states))
        states[key] = spoil_tree(states[key], rng, spoil_tensor)
        return {**value, "state": states}
    return spoil_tree(value, rng, spoil_tensor)


def read_run(folder: Path, is_changed: bool) -> None:
    """Goes on with the run: a step of the optimizer, and a record more."""
    model, cfg = make_network(), config(is_changed)
    optimizer = make_optimizer(model, cfg["optim"])
    content = read_last(folder, LOGGER)
    if content is None:
        raise WrongResult("the run starts from the beginning")
    task: Any = SimpleNamespace(model=model, trained=model)
    context: Any = SimpleNamespace(logger=LOGGER, folder=folder)
    parts: dict[str, Any] = {"optimizer": optimizer, "hooks": HookList([]), "steps_per_epoch": STEPS}
    parts["weights"] = Weights(task)
    state = restore(content, task, cfg, context, **parts)
    if not (0 <= state.epoch and 0 <= state.epoch_steps <= STEPS and 0 <= state.step):
        raise WrongResult(f"the place is {state}")
    if state.epoch < EPOCHS:
        _step(model, optimizer)
    if not all(value.isfinite().all() for value in model.state_dict().values()):
        raise WrongResult("weights are not finite")
    writer = MetricsWriter(folder)
    writer.rewind(state.step, state.num_records)
    if (folder / "metrics.jsonl").is_file():
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        if any(line["step"] > state.step for line in lines) or len(lines) != writer.num_records:
            raise WrongResult("metrics of steps that are still to come")


FORMS = tuple(
    Form(
        name,
        functools.partial(write_run, has_previous=has_previous),
        functools.partial(read_run, is_changed=is_changed),
        spoil_run,
    )
    for name, has_previous, is_changed in (
        ("the same config", False, False),
        ("another config", False, True),
        ("with the one before", True, False),
    )
)
