"""Contrast over all batches of a step, by cached gradients.

Shape legend: B samples of a batch, Q queries of all names, C channels.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from pointrecon.datasets.sample import Batch
from pointrecon.tools.protocol import has_quirk
from pointrecon.tools.settings import Settings
from pointrecon.tools.tasks.base import Task
from pointrecon.tools.training.passes import Losses, Passes
from pointrecon.utils.errors import InputError
from pointrecon.utils.processes import distributed
from pointrecon.utils.seed import shared_batch


class CachedPasses(Passes):
    """Losses that compare samples see those of all batches of a step (GradCache; Gao et al., 2021, arXiv 2101.06983).

    The queries of each batch are computed without a graph; the loss of all of them gives its gradients at the queries;
    each batch is computed again, and its queries get those. Masks, dropout and drop-path are drawn alike both times.
    The gradient is that of one batch of all samples, but for batch-norm, which in both is over the batch at hand: its
    running statistics are moved once.

    Args:
        task: pretrains a network with `forward_parts` and `forward_queries`.
        autocast: makes the precision that forward passes run in.
        cfg: the whole config.

    Raises:
        InputError: something in the config has the batches differ from one, or the network is not in two parts.
    """

    def __init__(self, task: Task, autocast: Callable[[], AbstractContextManager], cfg: Settings) -> None:
        super().__init__(task, autocast)
        check_cached(task.model, cfg)
        self.is_averaged_here = cfg["parallel"] != "fsdp"

    def run_all(self, batches: Sequence[Batch], shares: Sequence[float]) -> list[Losses]:
        """Adds the gradients of all batches of a step."""
        if len(batches) == 1:
            losses = super().run_all(batches, shares)
        else:
            with shared_batch():
                losses = self._run_together(batches, shares)
        if self.is_averaged_here:
            average_gradients(self.task.model)
        return losses

    def _run_together(self, batches: Sequence[Batch], shares: Sequence[float]) -> list[Losses]:
        seeds = [torch.initial_seed() + 2 * (number + 1) for number in range(len(batches))]
        inputs, states, queries = self._represent(batches, seeds)
        sizes = [len(x) for x in queries]
        leaf = torch.cat(queries).requires_grad_()
        terms = self._compare(leaf, inputs)
        grads = [None] * len(sizes) if leaf.grad is None else leaf.grad.split(sizes)
        losses: list[Losses] = []
        for batch, seed, state, grad, share in zip(inputs, seeds, states, grads, shares, strict=True):
            report = self._again(batch, seed, state, grad, share) | terms
            loss = torch.stack(list(report.values())).sum()
            losses.append((loss, {"loss": loss, **report}))
        return losses

    @torch.no_grad()
    def _represent(
        self, batches: Sequence[Batch], seeds: Sequence[int]
    ) -> tuple[list[Sequence[Any]], list[Any], list[Tensor]]:
        """What the task makes of each batch, the generator's state before the network draws, and the queries."""
        task = self.task
        before = [(buffer, buffer.clone()) for buffer in task.network.buffers()]
        inputs: list[Sequence[Any]] = []
        states: list[Any] = []
        queries: list[Tensor] = []
        for batch, seed in zip(batches, seeds, strict=True):
            with self.autocast():
                inputs.append(task.prepare(batch))
                states.append(task.generator.get_state())
                torch.manual_seed(seed)
                options = {"stage": "forward_parts", "generator": task.generator, "is_query_only": True}
                queries.append(task.network(inputs[-1][0], **options)[0])
        for buffer, value in before:
            buffer.copy_(value)
        return inputs, states, queries

    def _compare(self, queries: Tensor, inputs: Sequence[Sequence[Any]]) -> dict[str, Tensor]:
        """The terms of all samples of the step; leaves their gradients in the queries and in the heads."""
        names: Any = getattr(self.task, "target_names")  # noqa: B009  (of a task that pretrains)
        columns = [torch.cat(column) for column in zip(*(batch[2:] for batch in inputs), strict=True)]
        labels, before = [], 0
        for batch in inputs:  # negative labels are of no class, and those of one batch are not those of another
            labels.append(torch.where(batch[1] < 0, batch[1] - before, batch[1]))
            before += distributed.world_size() * len(batch[1])
        with self.autocast():
            targets = dict(zip(names, columns, strict=True))
            terms = self.task.network(queries, targets, torch.cat(labels), stage="forward_queries")
        if terms:
            torch.stack(list(terms.values())).sum().backward()
        return {name: term.detach() for name, term in terms.items()}

    def _again(
        self, batch: Sequence[Any], seed: int, state: Tensor, grad: Tensor | None, share: float
    ) -> dict[str, Tensor]:
        """The backward pass of a batch; returns the terms of its own."""
        task = self.task
        task.generator.set_state(state)
        torch.manual_seed(seed)
        with self.autocast():
            queries, terms = task.network(batch[0], stage="forward_parts", generator=task.generator)
        roots = [] if grad is None else [(queries, grad)]
        roots += [(term, torch.full_like(term, share)) for term in terms.values()]
        torch.autograd.backward([root for root, _ in roots], [along for _, along in roots])
        return {name: term.detach() for name, term in terms.items()}


def check_cached(model: nn.Module, cfg: Settings) -> None:
    """Refuses what cached gradients cannot be exact with.

    Raises:
        InputError: it is named.
    """
    reason = None
    if cfg["task"] != "pretrain" or not hasattr(model, "forward_queries") or not hasattr(model, "forward_parts"):
        reason = f"{type(model).__name__} in task={cfg['task']} has no forward_parts and forward_queries"
    elif cfg["compile"]:
        reason = "compile is on, and what a compiled network draws cannot be drawn again"
    elif has_quirk(cfg, "undivided_accumulation"):
        reason = "protocol=published adds up the losses of the batches undivided"
    if reason:
        raise InputError(f"accum_cached is on, but {reason}; set accum_cached=false, or change that")


def average_gradients(model: nn.Module) -> None:
    """The mean of the gradients over all processes; a parameter that has none in any of them keeps none."""
    if distributed.world_size() == 1:
        return
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    has_one = distributed.all_reduce_sum(torch.tensor([float(p.grad is not None) for p in parameters])).tolist()
    for parameter, count in zip(parameters, has_one, strict=True):
        if count:
            own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = distributed.all_reduce_mean(own)
