"""Looks for NaN and infinity in the losses and the gradients of a step, before the weights are moved by them."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pointrecon.tools.context import RunContext
from pointrecon.tools.settings import Settings
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write
from pointrecon.utils.processes import distributed
from pointrecon.utils.processes.connection import PeerError

MAX_IDS = 8


class Part(NamedTuple):
    """What a step was made of: one forward pass."""

    loss: Tensor
    report: Mapping[str, Tensor]
    batch: Mapping[str, Any]


class LossGuard:
    """Decides before each optimizer step whether it may be taken.

    A step whose loss or gradient is not finite is skipped as if it had not been: the buffers that its forward passes
    have moved (batch-norm statistics) are put back. After `skip_nonfinite` such steps the next one ends the run.

    Args:
        cfg: the whole config.
        ctx: the run's surroundings.
        model: whose weights and buffers a step moves.
        state: its whole weights, for evidence; called by all processes. None: its state dict.
    """

    def __init__(
        self, cfg: Settings, ctx: RunContext, model: nn.Module, state: Callable[[], Mapping[str, Tensor]] | None = None
    ) -> None:
        self.cfg, self.ctx, self.model = cfg, ctx, model
        self.state = state or model.state_dict
        self.num_skipped = 0
        self._buffers: list[tuple[Tensor, Tensor]] = []
        self._is_open = False

    @property
    def looks_always(self) -> bool:
        """A look makes a GPU's host wait; a CPU's loss is there anyway."""
        return self.ctx.device.type == "cpu" or self.cfg["skip_nonfinite"] > 0

    def is_due(self, step: int, is_saved: bool = False) -> bool:
        """A GPU's loss is looked at when it is shown, and before the weights are saved."""
        return self.looks_always or is_saved or (step + 1) % self.cfg["log_every"] == 0

    @torch.no_grad()
    def begin(self) -> None:
        """Remembers the buffers, which the passes of a step move; for a step that is looked at."""
        self._is_open = True
        if not self._buffers:
            self._buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
            return
        for buffer, before in self._buffers:
            before.copy_(buffer)

    @torch.no_grad()
    def undo(self) -> None:
        """Puts the buffers back to where `begin` saw them; nothing after `end`."""
        for buffer, before in self._buffers if self._is_open else ():
            buffer.copy_(before)

    def end(self) -> None:
        """The step is done, and so is what it has moved."""
        self._is_open = False

    def look(self, parts: Sequence[Part], norm: Tensor, step: int) -> tuple[bool, float]:
        """Looks at the losses and the gradient norm of a step, in one wait for all of them.

        Args:
            parts: what the step was made of.
            norm: of all gradients together (scalar), the same in every process.
            step: its number, from 0.

        Returns:
            Whether the step is to be skipped (in all processes, if in one), and the last loss.

        Raises:
            InputError: something is not finite, and no more steps may be skipped. nan.pth has what it came from.
            PeerError: the same, and it was seen by another process, which reports it.
        """
        *losses, length = torch.stack([*(part.loss.detach() for part in parts), norm.to(parts[0].loss)]).tolist()
        bad = [number for number, loss in enumerate(losses) if not math.isfinite(loss)]
        culprits = self._processes_with(bool(bad))
        is_bad = bool(culprits) or not math.isfinite(length)
        if is_bad:
            self.undo()
            self._skip_or_end(parts[bad[0]] if bad else parts[-1], step, culprits, length)
        return is_bad, losses[-1]

    def _processes_with(self, is_bad: bool) -> list[int]:
        """The numbers of the processes whose own loss is not finite."""
        if self.ctx.world_size == 1:
            return [0] if is_bad else []
        flags = torch.zeros(self.ctx.world_size)
        flags[self.ctx.rank] = is_bad
        return distributed.all_reduce_sum(flags).nonzero().flatten().tolist()

    def _skip_or_end(self, part: Part, step: int, culprits: Sequence[int], length: float) -> None:
        self.num_skipped += 1
        terms = ", ".join(f"{name} {float(value):.4g}" for name, value in part.report.items())
        if self.num_skipped <= self.cfg["skip_nonfinite"]:
            what = f"the loss of process {culprits[0]}" if culprits else f"the gradient (norm {length})"
            self.ctx.logger.warning(f"step {step + 1} skipped, {what} is not finite: {terms}")
            return
        weights = self.state()
        is_told_here = self.ctx.rank in culprits or (not culprits and self.ctx.is_main)
        if not is_told_here:
            raise PeerError("a non-finite loss or gradient, which another process reports")
        path = self.ctx.folder / f"nan{f'-{self.ctx.rank}' if self.ctx.rank else ''}.pth"
        save_evidence(path, part.batch, part.report, step, weights)
        raise InputError(self._describe(part, step, bool(culprits), length, terms, path))

    def _describe(self, part: Part, step: int, is_loss: bool, length: float, terms: str, path: Path) -> str:
        ids = part.batch["id"]
        shown = ", ".join(ids[:MAX_IDS]) + (f" and {len(ids) - MAX_IDS} more" if len(ids) > MAX_IDS else "")
        what = f"the loss became {part.loss.item()}" if is_loss else f"the norm of the gradients became {length}"
        where = f" in process {self.ctx.rank}" if is_loss and self.ctx.world_size > 1 else ""
        late = ""
        if not self.looks_always:
            late = f" (it is looked at every {self.cfg['log_every']} steps, and may have come before)"
        return (
            f"{what}{where} at step {step + 1}{late} ({terms}) on the samples {shown}; '{path}' has the batch and the "
            "weights before it; lower optim.lr, set optim.grad_clip or look at these samples, then go on with "
            "--resume, or set skip_nonfinite to skip some steps"
        )


def check_mean(loss: float, epoch: int) -> None:
    """Raises InputError if the mean loss of an epoch is no longer a number."""
    if not math.isfinite(loss):
        raise InputError(
            f"the loss became {loss} in epoch {epoch}; lower optim.lr, set optim.grad_clip or look at the data, then "
            "go on from the last good epoch with --resume"
        )


def save_evidence(
    path: Path, batch: Mapping[str, Any], report: Mapping[str, Tensor], step: int, weights: Mapping[str, Tensor]
) -> None:
    """Writes what a step was made of (base_model, batch, report, step), for torch.load(weights_only=True)."""
    content = {"base_model": dict(weights), "batch": dict(batch), "report": dict(report), "step": step}
    with atomic_write(path) as temporary:
        torch.save(content, temporary)
