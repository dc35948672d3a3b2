"""The forward and the backward pass of a batch: as they are, or recorded once as a CUDA graph and replayed.

A network of this size keeps a GPU busy for a few microseconds with each operation, less than Python takes to ask for
one. A recording asks for all of them at once.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from pointrecon.datasets.sample import Batch
from pointrecon.tools.context import RunContext
from pointrecon.tools.settings import Settings
from pointrecon.tools.tasks.base import Task
from pointrecon.tools.training.parallel.wrap import no_sync, wrap
from pointrecon.utils.errors import InputError
from pointrecon.utils.seed import shared_batch

Losses = tuple[Tensor, Mapping[str, Tensor]]
NUM_PLAIN = 3  # batches before the recording: what compiles, chooses or allocates something does it then


def make_passes(task: Task, cfg: Settings, ctx: RunContext) -> "Passes":
    """Puts the compiled or distributed version of the model into the task, and says how its passes are run."""
    if task.network is task.model:  # otherwise its weights are shared out already
        task.network = wrap(task.model, cfg, ctx)

    def autocast() -> AbstractContextManager:
        """bf16 where asked; losses and distances stay in float32 by themselves."""
        return torch.autocast(ctx.device.type, torch.bfloat16, enabled=cfg["precision"] == "bf16")

    if cfg["accum_cached"]:
        from pointrecon.tools.training.parallel.cached import CachedPasses  # which derives from what is here

        return CachedPasses(task, autocast, cfg)
    is_plain = ctx.world_size == 1 and cfg["accum_steps"] == 1 and not cfg["checkpoint_blocks"]
    is_recorded = cfg["cuda_graph"] and ctx.device.type == "cuda" and is_plain
    return RecordedPasses(task, autocast, ctx) if is_recorded else Passes(task, autocast)


class Passes:
    """Runs the passes of a batch, one operation after the other.

    Args:
        task: has `training_step`.
        autocast: makes the precision that forward passes run in.
    """

    def __init__(self, task: Task, autocast: Callable[[], AbstractContextManager]) -> None:
        self.task, self.autocast = task, autocast

    def run_all(self, batches: Sequence[Batch], shares: Sequence[float]) -> list[Losses]:
        """`run` for each batch of a step."""
        pairs = list(zip(batches, shares, strict=True))
        return [self.run(*pair, is_last=number == len(pairs)) for number, pair in enumerate(pairs, start=1)]

    def run(self, batch: Batch, share: float = 1.0, is_last: bool = True) -> Losses:
        """Adds the gradients of a batch to those that are there.

        Args:
            batch: one of the train loader.
            share: what the loss counts in the step.
            is_last: no more batches come in this step; only then do processes exchange gradients.

        Returns:
            The loss, and what the task reports; no graph hangs on them.
        """
        with contextlib.nullcontext() if is_last else no_sync(self.task.network), shared_batch():
            with self.autocast():
                loss, report = self.task.training_step(batch)
            (loss * share).backward()  # blocks that are computed again draw for the shared batch once more
        return loss.detach(), report


class RecordedPasses(Passes):
    """Records the passes of a whole batch after a few plain ones, and replays them for all that are like it.

    Reading and augmenting a batch, live teachers and the optimizer stay outside: what they do may depend on the batch,
    and the GPU is busy with the recording meanwhile. The last batch of an epoch, if it is smaller, runs as it is and
    not compiled: compiling for it takes longer than an epoch. All run as they are where something in the passes makes
    the host wait for the GPU, for which the last plain batch is looked at.

    Args:
        task: has `prepare`, `compute_loss` and `generator`.
        autocast: makes the precision that forward passes run in.
        ctx: has the size of a whole batch; its logger hears why nothing can be recorded.

    Raises:
        InputError: a recording failed for another reason.
    """

    def __init__(self, task: Task, autocast: Callable[[], AbstractContextManager], ctx: RunContext) -> None:
        super().__init__(task, autocast)
        self.logger, self.batch_size = ctx.logger, ctx.batch_size
        self.stream = torch.cuda.Stream(ctx.device)
        self.recording: _Recording | None = None
        self._num_seen: dict[Any, int] = {}
        self._is_refused = False

    def run(self, batch: Batch, share: float = 1.0, is_last: bool = True) -> Losses:
        """As in `Passes`; there must be no gradients yet. The loss and the report are overwritten by the next batch."""
        with self.autocast(), shared_batch():
            inputs = self.task.prepare(batch)
        if len(batch["points"]) < self.batch_size or share != 1.0:
            compiled, self.task.network = self.task.network, self.task.model
            try:
                return self._run_plain(inputs, share)
            finally:
                self.task.network = compiled
        kind = _kind_of(inputs)
        if self.recording is None and not self._is_refused:
            number = self._num_seen[kind] = self._num_seen.get(kind, 0) + 1
            if number == NUM_PLAIN:
                return self._run_watched(inputs)
            if number > NUM_PLAIN:
                self.recording = self._record(inputs)
        if self.recording is not None and self.recording.kind == kind:
            return self.recording.replay(inputs)
        return self._run_plain(inputs)

    def _run_plain(self, inputs: Sequence[Tensor | None], share: float = 1.0) -> Losses:
        # On the stream of the recording: what autograd remembers of a parameter's stream must fit both.
        self.stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(self.stream):
                return self._compute(inputs, share)
        finally:
            torch.cuda.current_stream().wait_stream(self.stream)

    def _run_watched(self, inputs: Sequence[Tensor | None]) -> Losses:
        """As it is, but anything that makes the host wait for the GPU ends it, and then it is run again.

        torch does not come back from a recording that fails, so that it is better not begun.
        """
        draws = [self.task.generator, torch.cuda.default_generators[torch.cuda.current_device()]]
        states = [generator.get_state() for generator in draws]
        buffers = [(buffer, buffer.clone()) for buffer in self.task.model.buffers()]
        try:
            with _no_wait():
                return self._run_plain(inputs)
        except RuntimeError as error:
            if "synchronizing" not in str(error):
                raise
            reason = " ".join(str(error).split())[:200]
            self.logger.warning(f"steps are not recorded, since something in them waits for the GPU: {reason}")
        self._is_refused = True
        self.task.model.zero_grad(set_to_none=True)
        for generator, state in zip(draws, states, strict=True):
            generator.set_state(state)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        return self._run_plain(inputs)

    def _compute(self, inputs: Sequence[Tensor | None], share: float = 1.0) -> Losses:
        with self.autocast(), shared_batch():
            loss, report = self.task.compute_loss(*inputs)
        (loss * share).backward()
        return loss.detach(), report

    def _record(self, inputs: Sequence[Tensor | None]) -> "_Recording":
        parameters = [parameter for parameter in self.task.model.parameters() if parameter.requires_grad]
        try:
            return _Recording(self._compute, inputs, parameters, self.task.generator, self.stream)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"the steps cannot be recorded ({reason}); set cuda_graph=false") from error


class _Recording:
    """The passes of one batch as a CUDA graph.

    Args:
        compute: what is recorded: inputs -> loss and report, gradients left in the parameters, which have none before.
        inputs: of the kind that will be replayed; their values do not matter.
        parameters: that get gradients.
        generator: draws inside; its state at a replay counts.
        stream: to record on.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Tensor | None]], Losses],
        inputs: Sequence[Tensor | None],
        parameters: Sequence[nn.Parameter],
        generator: torch.Generator,
        stream: torch.cuda.Stream,
    ) -> None:
        self.kind = _kind_of(inputs)
        self._inputs = [None if x is None else x.clone() for x in inputs]
        self._graph = torch.cuda.CUDAGraph()
        self._graph.register_generator_state(generator)
        # Threads that load data or write checkpoints may go on meanwhile.
        with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
            self._losses = compute(self._inputs)
        # The graph writes gradients to the same places each time.
        self._grads = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]

    def replay(self, inputs: Sequence[Tensor | None]) -> Losses:
        """The same with other values."""
        for own, given in zip(self._inputs, inputs, strict=True):
            if own is not None and given is not None:
                own.copy_(given)
        self._graph.replay()
        for parameter, grad in self._grads:
            parameter.grad = grad
        return self._losses


@contextlib.contextmanager
def _no_wait() -> Iterator[None]:
    """Inside the block, what makes the host wait for the GPU raises a RuntimeError."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the mode may not see everything
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _kind_of(inputs: Sequence[Tensor | None]) -> tuple:
    return tuple(None if x is None else (x.shape, x.dtype, x.device) for x in inputs)
