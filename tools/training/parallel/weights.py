"""The weights that an optimizer moves: those of the task's model, or this process's share of them.

Under `parallel: fsdp` the task's model is a whole copy that training does not touch; it gets the trained weights where
something is measured or saved. Optimizer, averages and guards work on `trained`, a module with the model's names whose
parameters are this process's rows of the shared-out ones, as ordinary tensors. Checkpoints hold whole tensors.

Shape legend: N rows of a parameter, n rows of a process: ceil(N / processes), the last ones fewer or none.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pointrecon.tools.context import RunContext
from pointrecon.tools.settings import Settings
from pointrecon.tools.tasks.base import Task
from pointrecon.tools.training.hooks import Hook, HookList
from pointrecon.tools.training.parallel.wrap import shard
from pointrecon.utils.processes import distributed


class Weights:
    """The parameters of the model themselves: nothing has to be brought anywhere.

    Args:
        task: has the model.
    """

    is_sharded = False

    def __init__(self, task: Task) -> None:
        self.task = task

    def gradient_norm(self) -> Tensor:
        """Norm of all gradients together (scalar), without making the host wait for a GPU."""
        gradients = [parameter.grad for parameter in self.task.trained.parameters() if parameter.grad is not None]
        return nn.utils.get_total_norm(gradients) if gradients else torch.zeros(())

    def collect_gradients(self) -> None:
        """Brings the gradients of a step to the parameters of `trained`."""

    def state(self) -> dict[str, Tensor]:
        """The trained weights, whole. All processes must call this."""
        return self.task.trained.state_dict()

    def gather(self, content: dict[str, Any]) -> dict[str, Any]:
        """A checkpoint's content with whole tensors in the main process. All processes must call this."""
        return content

    def part(self, content: Mapping[str, Any]) -> Mapping[str, Any]:
        """The opposite: of a checkpoint's content with whole tensors, this process's share."""
        return content

    def push(self) -> None:
        """Takes over the weights of the model."""

    def pull(self) -> None:
        """Gives the trained weights to the model. All processes must call this."""

    def settle(self, hooks: HookList) -> None:
        """Training is over: the model gets the weights that are evaluated."""
        self.task.model.load_state_dict(hooks.evaluated_weights(), strict=False)


class ShardedWeights(Weights):
    """This process's share of weights, gradients and optimizer state.

    Args:
        task: `trained` and `network` are set; its `model` stays whole.
        cfg: the whole config.
        ctx: the run's surroundings.

    Raises:
        InputError: this torch cannot share weights out.
    """

    is_sharded = True

    def __init__(self, task: Task, cfg: Settings, ctx: RunContext) -> None:
        super().__init__(task)
        self.ctx = ctx
        distributed.copy_from_main([*task.model.parameters(), *task.model.buffers()])
        self.shapes = {name: value.shape for name, value in task.model.named_parameters() if value.dim()}
        inner = copy.deepcopy(task.model)
        task.trained = copy.deepcopy(task.model)
        task.network = shard(inner, cfg, ctx)
        self.shared: dict[str, nn.Parameter] = dict(inner.named_parameters())
        for name, parameter in self.shared.items():
            owner, local = _owner(task.trained, name), _local(parameter.data)
            setattr(owner, name.split(".")[-1], nn.Parameter(local, requires_grad=parameter.requires_grad))
            if name not in self.shapes and parameter.requires_grad:
                parameter.register_hook(distributed.all_reduce_mean)
        for name, buffer in inner.named_buffers():
            _owner(task.trained, name)._buffers[name.split(".")[-1]] = buffer
        self.own: dict[str, nn.Parameter] = dict(task.trained.named_parameters())

    def gradient_norm(self) -> Tensor:
        """As of the whole: the squares are added up over the processes."""
        shares = [p.grad for name, p in self.own.items() if p.grad is not None and name in self.shapes]
        scalars = [p.grad for name, p in self.own.items() if p.grad is not None and name not in self.shapes]
        total = nn.utils.get_total_norm(shares) if shares else torch.zeros((), device=self.ctx.device)
        return nn.utils.get_total_norm([distributed.all_reduce_sum(total.square()).sqrt(), *scalars])

    def collect_gradients(self) -> None:
        """Takes the gradients from the shared-out parameters, which then have none."""
        for name, parameter in self.shared.items():
            self.own[name].grad = None if parameter.grad is None else _local(parameter.grad)
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """The trained weights, whole."""
        self.pull()
        return self.task.model.state_dict()

    def gather(self, content: dict[str, Any]) -> dict[str, Any]:
        """Whole tensors, on the CPU, in the main process; of use there alone."""
        return _change(content, self._whole_on_main)

    def part(self, content: Mapping[str, Any]) -> Mapping[str, Any]:
        """What has not the shape of a parameter is left as it is, for whoever checks it."""
        return _change(content, self._share)

    @torch.no_grad()
    def push(self) -> None:
        """Takes this process's rows of the weights of the model."""
        for name, parameter in self.task.model.named_parameters():
            self.own[name].copy_(self._share(name, parameter))
        for own, given in zip(self.task.trained.buffers(), self.task.model.buffers(), strict=True):
            own.copy_(given)

    @torch.no_grad()
    def pull(self) -> None:
        """Gives the rows of all processes to the model."""
        for name, parameter in self.task.model.named_parameters():
            parameter.copy_(self._whole(name, self.own[name]))
        for own, given in zip(self.task.model.buffers(), self.task.trained.buffers(), strict=True):
            own.copy_(given)

    def settle(self, hooks: HookList) -> None:
        """Training is over: the model gets the weights that are evaluated."""
        with hooks.evaluating():
            self.pull()

    def _share(self, name: str, value: Tensor) -> Tensor:
        if value.shape != self.shapes.get(name):
            return value
        parts = value.detach().chunk(self.ctx.world_size)  # as fully_shard does
        return parts[self.ctx.rank] if self.ctx.rank < len(parts) else value.detach()[:0]

    def _whole(self, name: str, value: Tensor) -> Tensor:
        if name not in self.shapes or value.shape != self.own[name].shape:
            return value
        num_rows, *rest = self.shapes[name]
        padded = value.new_zeros(-(-num_rows // self.ctx.world_size), *rest)
        padded[: len(value)] = value.detach()
        return distributed.all_gather_rows(padded)[:num_rows]

    def _whole_on_main(self, name: str, value: Tensor) -> Tensor:
        whole = self._whole(name, value)
        return whole.cpu() if self.ctx.is_main and whole is not value else value


class WholeModel(Hook):
    """Brings the trained weights to the model wherever something is measured; comes after the hooks that change them.

    Args:
        weights: of the run.
    """

    name = "whole"

    def __init__(self, weights: Weights) -> None:
        self.weights = weights

    def evaluating(self) -> Any:
        """Around each evaluation."""
        self.weights.pull()
        return super().evaluating()


def make_weights(task: Task, cfg: Settings, ctx: RunContext) -> Weights:
    """The weights that are trained; with `parallel: fsdp` and several processes each has its share."""
    return ShardedWeights(task, cfg, ctx) if cfg["parallel"] == "fsdp" and ctx.world_size > 1 else Weights(task)


def with_whole_model(hooks: HookList, weights: Weights) -> HookList:
    """The hooks of a run and, where weights are shared out, what brings them together."""
    return HookList([*hooks.hooks, WholeModel(weights)]) if weights.is_sharded else hooks


def _change(content: Any, change: Callable[[str, Tensor], Tensor], name: str = "") -> Any:
    """A tree in which tensors under a parameter's name are changed, at any depth; the optimizer's go by number."""
    if isinstance(content, Tensor):
        return change(name, content)
    if not isinstance(content, Mapping):
        return content
    names = content.get("parameter_names")
    if names is None:
        return {key: _change(item, change, str(key)) for key, item in content.items()}
    labels = dict(enumerate(label for group in names for label in group))
    others = {key: item for key, item in content.items() if key not in ("parameter_names", "optimizer")}
    changed = _change(others, change)
    optimizer = dict(content.get("optimizer", {}))
    if isinstance(optimizer.get("state"), Mapping):
        optimizer["state"] = {
            number: {key: change(labels.get(number, ""), value) for key, value in state.items()}
            if isinstance(state, Mapping) and all(isinstance(value, Tensor) for value in state.values())
            else state
            for number, state in optimizer["state"].items()
        }
    return {**changed, "parameter_names": names, "optimizer": optimizer}


def _owner(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


def _local(tensor: Any) -> Tensor:
    """This process's rows of a DTensor, in the same memory."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor
