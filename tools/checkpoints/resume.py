"""What a run goes on from: a checkpoint is checked part by part before anything of it is used.

A file may be of another run, cut, or made to do harm: optimizer states whose shapes are wrong would be written beyond
their memory by a fused step. Whatever does not fit is told in one sentence.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pointrecon.models.blocks.batch_norm import is_possible
from pointrecon.tools.checkpoints.snapshot import State
from pointrecon.utils.errors import InputError
from pointrecon.utils.seed import set_rng_state

KINDS = {
    "base_model": Mapping,
    "config": Mapping,
    "schedule": Mapping,
    "best_metrics": Mapping,
    "metrics": Mapping,
    "epoch": int,
    "step": int,
}
# What a finished run removes with keep=weights, and what only a run that is to be trained further needs.
FOR_TRAINING = {"optimizer": Mapping, "random_state": Mapping}
MAX_COUNT = 1 << 40
_RANDOM_FAULTS = (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError, OverflowError)


class ResumeError(InputError):
    """A checkpoint from which this run cannot go on."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"cannot resume from '{path}': {reason}")


def check_parts(content: Mapping[str, Any], path: object) -> None:
    """Checks that a checkpoint has the parts that every resumed run needs, each of its kind.

    Args:
        content: what was read.
        path: of the file, for messages.

    Raises:
        InputError: a part is missing or is something else.
    """
    _check_kinds(content, KINDS, path)
    if content["config"].get("epochs") is None:
        raise ResumeError(path, "its config has no 'epochs'; give the file that the run itself has written")
    for name in ("epoch", "step"):
        if not 0 <= content[name] < MAX_COUNT:
            raise ResumeError(path, f"it claims {content[name]} as its {name}; the file is damaged")


def _check_kinds(content: Mapping[str, Any], kinds: Mapping[str, type], path: object) -> None:
    lacking = [name for name in kinds if name not in content]
    if lacking:
        raise ResumeError(
            path,
            f"it has no {', '.join(repr(name) for name in lacking)}, so it is no checkpoint of an interrupted run; to "
            "start a new run from its weights, give it with --ckpts and without --resume",
        )
    for name, kind in kinds.items():
        if not isinstance(content[name], kind) or isinstance(content[name], bool):
            given = type(content[name]).__name__
            raise ResumeError(path, f"'{name}' is a value of type {given}, not {kind.__name__}; the file is damaged")


def read_state(content: Mapping[str, Any], path: object) -> State:
    """The state in a checkpoint; what an older one does not have is as at the start of an epoch.

    Raises:
        InputError: something in it is not what a run writes.
    """
    schedule, progress = content["schedule"], content.get("progress", {})
    done = content.get("sampler", {})
    try:
        state = State(
            epoch=content["epoch"],
            step=content["step"],
            epoch_steps=int(done.get("steps", 0)),
            best=float(schedule["best"]),
            best_metrics=dict(content["best_metrics"]),
            metrics=dict(content["metrics"]),
            seconds=float(schedule["seconds"]),
            num_skipped=int(progress.get("num_skipped", 0)),
            num_records=progress.get("num_records"),
            sums={str(name): [float(x) for x in pair] for name, pair in progress.get("sums", {}).items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ResumeError(path, f"its progress cannot be read ({error!r}); the file is damaged") from error
    counts = (state.epoch_steps, state.num_skipped, 0 if state.num_records is None else state.num_records)
    is_sound = all(isinstance(count, int) and 0 <= count < MAX_COUNT for count in counts)
    is_sound &= state.epoch_steps <= state.step and math.isfinite(state.seconds) and not math.isnan(state.best)
    if not is_sound or any(len(pair) != 2 or pair[1] < 0 for pair in state.sums.values()):
        raise ResumeError(path, "its counts of steps, records or samples are impossible; the file is damaged")
    return state


def load_model(model: nn.Module, content: Mapping[str, Any], path: object) -> None:
    """Puts the weights into the model.

    Raises:
        InputError: names, sizes or types differ, or a value is not finite.
    """
    wanted, given = model.state_dict(), content["base_model"]
    differing = sorted(key for key in {*wanted, *given} if key not in given or key not in wanted)
    if differing:
        where = "the file" if differing[0] in given else "this network"
        raise ResumeError(
            path,
            f"{len(differing)} tensors are not in both, for example '{differing[0]}' is only in {where}; give the "
            "config of the run that was interrupted",
        )
    for key, value in wanted.items():
        _check_tensor(f"'{key}'", given[key], value, path)
        if not is_possible(key, given[key]):
            raise ResumeError(path, f"'{key}' is below zero; go on from an earlier checkpoint")
    model.load_state_dict(given)


def load_optimizer(
    optimizer: torch.optim.Optimizer, content: Mapping[str, Any], names: list[list[str]], path: object
) -> None:
    """Takes over the running means of an optimizer. Rates, decays and other settings stay those of the config.

    Args:
        optimizer: of this run.
        content: the checkpoint; `parameter_names` is compared where it has them.
        names: of the parameters, group by group.
        path: of the file, for messages.

    Raises:
        InputError: other groups, names, shapes, types or values than this optimizer can go on with.
    """
    ours, saved = optimizer.state_dict(), content["optimizer"]
    groups, states = saved.get("param_groups"), saved.get("state")
    if not isinstance(groups, list) or not isinstance(states, Mapping):
        raise ResumeError(path, "its optimizer has no groups or no state; the file is damaged")
    given = [_as_list(group.get("params")) if isinstance(group, Mapping) else [] for group in groups]
    if given != [group["params"] for group in ours["param_groups"]]:
        raise ResumeError(
            path,
            f"its optimizer has groups of {_sizes(given)} parameters, this run's has groups of {_sizes(names)}; give "
            "the optim.layer_decay, optim.head_lr_scale and classifier.freeze of the run that was interrupted",
        )
    saved_names = content.get("parameter_names", names)
    if saved_names != names:
        theirs_all = [name for group in _as_list(saved_names) for name in _as_list(group)]
        pairs = zip(theirs_all, (x for group in names for x in group), strict=False)
        theirs, mine = next((pair for pair in pairs if pair[0] != pair[1]), ("?", "?"))
        raise ResumeError(
            path, f"its optimizer has '{theirs}' where this run has '{mine}'; start a new run with --ckpts"
        )
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    labels = [name for group in names for name in group]
    for number, state in states.items():
        if not isinstance(number, int) or not 0 <= number < len(parameters):
            raise ResumeError(path, f"its optimizer has a state for parameter {number!r}, which is not there")
        _check_moments(labels[number], state, parameters[number], path)
    # Copies of their own, since a fused step writes to memory as if it were as large as the shape says: a tensor of a
    # file may be one number seen many times, or share its memory with another.
    own = {
        number: {key: value.detach().clone(memory_format=torch.contiguous_format) for key, value in state.items()}
        for number, state in states.items()
    }
    # The rate is set before each step; a checkpoint that is written before the next one has the last one's.
    rates = [group.get("lr") for group in groups]
    if not all(isinstance(rate, float) and math.isfinite(rate) for rate in rates):
        raise ResumeError(path, f"its optimizer has {rates[0]!r} for a learning rate; the file is damaged")
    settings = [{**group, "lr": rate} for group, rate in zip(ours["param_groups"], rates, strict=True)]
    optimizer.load_state_dict({"state": own, "param_groups": settings})


def _check_moments(name: str, state: Any, parameter: Tensor, path: object) -> None:
    """A state of AdamW: a step count, and two means of the parameter's shape."""
    keys = {"step", "exp_avg", "exp_avg_sq"}
    if not isinstance(state, Mapping) or set(state) != keys:
        shown = sorted(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
        raise ResumeError(path, f"the optimizer's state of '{name}' is {shown}, not {sorted(keys)}")
    step = state["step"]
    if not isinstance(step, Tensor) or step.shape != () or not 0 <= float(step) < MAX_COUNT:
        raise ResumeError(path, f"the optimizer's step count of '{name}' is not a count; the file is damaged")
    for key in ("exp_avg", "exp_avg_sq"):
        _check_tensor(f"the optimizer's {key} of '{name}'", state[key], parameter, path)
    if bool((state["exp_avg_sq"] < 0).any()):
        raise ResumeError(path, f"the optimizer's exp_avg_sq of '{name}' is negative; the file is damaged")


def _check_tensor(what: str, given: Any, wanted: Tensor, path: object) -> None:
    if not isinstance(given, Tensor) or given.layout is not torch.strided or given.dtype != wanted.dtype:
        kind = given.dtype if isinstance(given, Tensor) else type(given).__name__
        raise ResumeError(path, f"{what} is {kind}, but {wanted.dtype} here; the file is of another run or damaged")
    if given.shape != wanted.shape:
        raise ResumeError(
            path,
            f"{what} has the shape {tuple(given.shape)} in the file and {tuple(wanted.shape)} here; give the sizes of "
            "the run that was interrupted",
        )
    if given.is_floating_point() and not bool(given.isfinite().all()):
        raise ResumeError(path, f"{what} has values that are not finite; go on from an earlier checkpoint")


def load_random_state(state: Mapping[str, Any], path: object) -> None:
    """Brings the global generators to where they were.

    Raises:
        InputError: it is no state of them.
    """
    try:
        position = state["numpy"][2]
        if not 0 <= position <= len(state["numpy"][1]):  # NumPy would read beyond its table
            raise ValueError(f"position {position}")
        set_rng_state(dict(state))
    except _RANDOM_FAULTS as error:
        raise ResumeError(path, f"its random state cannot be used ({error!r}); the file is damaged") from error


def check_training_parts(content: Mapping[str, Any], path: object) -> None:
    """Checks that a run which is not at its end can go on.

    Raises:
        InputError: the optimizer or the random state is missing: the run was finished with keep=weights, for example.
    """
    if content.get("kept") == "weights":
        raise ResumeError(
            path,
            f"that run was finished after {content['epoch']} epochs and kept its weights alone (keep=weights), so it "
            "cannot be trained further; start a new run from them with --ckpts, or finish such runs with keep=resume",
        )
    _check_kinds(content, FOR_TRAINING, path)


def _as_list(value: Any) -> list[Any]:
    """A list of a file, an empty one if it is something else."""
    return list(value) if isinstance(value, (list, tuple)) else []


def _sizes(groups: Sequence[Sequence[Any]]) -> str:
    return ", ".join(str(len(group)) for group in groups) or "no"
