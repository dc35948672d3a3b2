"""Hooks: what follows the training loop without being a part of it, such as an average of the weights or probes.

The loop calls each hook after every optimizer step and after every epoch, and saves its state in each checkpoint.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from pointrecon.tools.context import RunContext
from pointrecon.tools.settings import Settings
from pointrecon.tools.tasks.base import Task


class Hook:
    """Does nothing; a hook overrides what it needs.

    Attributes:
        name: key of its state in a checkpoint; differs from those of the other hooks.
        split: under which metrics.jsonl has what `after_epoch` returns.
    """

    name = "hook"
    split = "hook"

    def after_step(self, *, step: int) -> None:
        """Called after each optimizer step that has moved the weights, in every process.

        Args:
            step: optimizer steps done. A step that was skipped for a non-finite loss is counted, but not told.
        """

    def after_epoch(self, *, epoch: int) -> dict[str, float]:
        """Called after each epoch, in every process, before the epoch's checkpoint is written.

        The model then has the weights that are evaluated: the averaged ones, if there are any.

        Args:
            epoch: epochs done.

        Returns:
            Metrics by name, which the loop writes to metrics.jsonl and TensorBoard; {} writes nothing.
        """
        return {}

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Around each evaluation; a hook may put other weights into the model meanwhile."""
        yield

    def evaluated_weights(self) -> Mapping[str, Tensor]:
        """Weights by key of the model's state dict that evaluation puts in place of the trained ones."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: tensors and plain values. Called by the main process alone; {} keeps nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from `state_dict` of the same kind of hook. Called by every process, after the weights are loaded.

        Args:
            state: {} if the checkpoint has none of this hook.

        Raises:
            InputError: the state is of another run.
        """


class HookList:
    """The hooks of a run, called one after the other.

    Args:
        hooks: of `make_hooks`.
    """

    def __init__(self, hooks: Sequence[Hook]) -> None:
        names = [hook.name for hook in hooks]
        assert len(set(names)) == len(names), f"two hooks have one name: {names}"
        self.hooks = hooks

    def after_step(self, *, step: int) -> None:
        """Calls `after_step` of all hooks."""
        for hook in self.hooks:
            hook.after_step(step=step)

    def after_epoch(self, *, epoch: int) -> Iterator[tuple[str, dict[str, float]]]:
        """Calls `after_epoch` of all hooks; yields the split and the metrics of each that has some."""
        with self.evaluating():
            for hook in self.hooks:
                metrics = hook.after_epoch(epoch=epoch)
                if metrics:
                    yield hook.split, metrics

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """The block evaluates: the model has the weights that are evaluated."""
        with contextlib.ExitStack() as stack:
            for hook in self.hooks:
                stack.enter_context(hook.evaluating())
            yield

    def evaluated_weights(self) -> dict[str, Tensor]:
        """Weights that evaluation puts in place of the trained ones, of all hooks together."""
        return {key: value for hook in self.hooks for key, value in hook.evaluated_weights().items()}

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """The states of the hooks that have one, by name."""
        return {hook.name: state for hook in self.hooks if (state := hook.state_dict())}

    def load_state_dict(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Goes on from `state_dict`.

        Raises:
            InputError: a state does not fit its hook.
        """
        for hook in self.hooks:
            hook.load_state_dict(states.get(hook.name, {}))


def make_hooks(task: Task, cfg: Settings, ctx: RunContext) -> HookList:
    """Makes the hooks that the config asks for. To add one: a function here, called with the same three arguments.

    Args:
        task: what is trained.
        cfg: the whole config.
        ctx: the surroundings of the run.

    Raises:
        InputError: an option of a hook is out of range.
    """
    # Hooks derive from `Hook` above, so their modules cannot be imported before it is there.
    from pointrecon.tools.evaluators.probes import make_probes
    from pointrecon.tools.training.hooks.ema import make_ema
    from pointrecon.tools.training.hooks.stop import make_release

    made = [make(task, cfg, ctx) for make in (make_ema, make_release, make_probes)]
    return HookList([hook for hook in made if hook is not None])
