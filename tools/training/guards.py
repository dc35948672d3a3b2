"""What ends a run early, with nothing lost: signals from outside, and a loss that is no number."""

import math
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write
from pointrecon.utils.processes import distributed

TERMINATED = 128 + signal.SIGTERM  # exit code of a process that SIGTERM has ended
MAX_IDS = 8


class Signals:
    """SIGTERM asks a run to save and stop after the step at hand (clusters send it before they take a node away),
    SIGUSR1 to save and go on. A context manager: the handlers are there inside the block only.

    Args:
        is_main: whether this process saves. The others go on until it has stopped: it needs them for its last step.
    """

    def __init__(self, is_main: bool) -> None:
        self.is_main = is_main
        self.must_stop = self.must_save = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        try:
            for number in (signal.SIGTERM, signal.SIGUSR1):
                self._before[number] = signal.signal(number, self._note)
        except ValueError:  # only the main thread may have handlers
            pass
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGTERM and distributed.has_failed():
            raise SystemExit(1)  # there is no step to be finished with a process that is gone
        self.must_stop |= number == signal.SIGTERM and self.is_main
        self.must_save |= self.is_main


class Part(NamedTuple):
    """What a step was made of: one forward pass."""

    loss: Tensor
    report: Mapping[str, Tensor]
    batch: Mapping[str, Any]


class LossGuard:
    """Looks for a loss that is NaN or infinite, before the weights are moved by it.

    Args:
        cfg: the whole config; `skip_nonfinite` steps are left out, the next one ends the run.
        ctx: the run's surroundings.
    """

    def __init__(self, cfg: Mapping[str, Any], ctx: Any) -> None:
        self.cfg, self.ctx = cfg, ctx
        self.num_skipped = 0

    @property
    def looks_always(self) -> bool:
        """A look makes a GPU's host wait; a CPU's loss is there anyway."""
        return self.ctx.device.type == "cpu" or self.cfg["skip_nonfinite"] > 0

    def is_due(self, step: int, is_saved: bool = False) -> bool:
        """A GPU's loss is looked at when it is shown, and before the weights are saved."""
        return self.looks_always or is_saved or (step + 1) % self.cfg["log_every"] == 0

    def look(
        self, parts: Sequence[Part], step: int, model: nn.Module, is_saved: bool = False
    ) -> tuple[bool, float | None]:
        """Looks at the losses of a step, in one wait for all of them, if it is due.

        Args:
            parts: what the step was made of.
            step: its number, from 0.
            model: whose weights it started from.
            is_saved: whether a checkpoint follows it.

        Returns:
            Whether the step is to be left out (in all processes, if in one), and the last loss, None if not looked at.

        Raises:
            InputError: a loss is no number, and no more steps may be left out. nan.pth has what it came from.
        """
        if not self.is_due(step, is_saved):
            return False, None
        losses = torch.stack([part.loss.detach() for part in parts]).tolist()
        bad = [number for number, loss in enumerate(losses) if not math.isfinite(loss)]
        if self.cfg["skip_nonfinite"] > 0:
            is_bad = distributed.all_reduce_sum(torch.tensor(float(len(bad)))).item() > 0
        else:
            is_bad = bool(bad)
        if is_bad:
            # Another process's may be the one.
            self._skip_or_end(parts[bad[0]] if bad else parts[-1], step, model)
        return is_bad, losses[-1]

    def _skip_or_end(self, part: Part, step: int, model: nn.Module) -> None:
        self.num_skipped += 1
        terms = ", ".join(f"{name} {float(value):.4g}" for name, value in part.report.items())
        if self.num_skipped <= self.cfg["skip_nonfinite"]:
            self.ctx.logger.warning(f"step {step + 1} left out: {terms}")
            return
        ids = part.batch["id"]
        shown = ", ".join(ids[:MAX_IDS]) + (f" and {len(ids) - MAX_IDS} more" if len(ids) > MAX_IDS else "")
        path = self.ctx.folder / f"nan{f'-{self.ctx.rank}' if self.ctx.rank else ''}.pth"
        save_evidence(path, part.batch, part.report, step, model)
        late = ""
        if not self.looks_always:
            late = f" (it is looked at every {self.cfg['log_every']} steps, and may have come before)"
        raise InputError(
            f"the loss became {part.loss.item()} at step {step + 1}{late} ({terms}) on the shapes {shown}; '{path}' "
            "has the batch and the weights before it; lower optim.lr, set optim.grad_clip or look at these shapes, "
            "then go on with --resume, or set skip_nonfinite to leave out some steps"
        )


def save_evidence(
    path: Path, batch: Mapping[str, Any], report: Mapping[str, Tensor], step: int, model: nn.Module
) -> None:
    """Writes what a step was made of (base_model, batch, report, step), for torch.load(weights_only=True)."""
    content = {"base_model": model.state_dict(), "batch": dict(batch), "report": dict(report), "step": step}
    with atomic_write(path) as temporary:
        torch.save(content, temporary)
