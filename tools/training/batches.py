"""The batches of a step. What a step draws depends on (seed, step) alone: if resumed, and in several processes."""

from collections.abc import Iterator

import torch

from pointrecon.datasets.loader import BatchSource
from pointrecon.datasets.sample import Batch
from pointrecon.tools.context import RunContext
from pointrecon.tools.settings import Settings
from pointrecon.tools.training.signals import Signals
from pointrecon.utils.errors import InputError
from pointrecon.utils.seed import seed_step


class TrainBatches:
    """Reads the training split, `accum_steps` batches at a time.

    Args:
        loader: of the training split.
        generator: of the augmentation and of what the network draws; seeded for each step.
        cfg: the whole config.
        ctx: the run's surroundings.
        signals: may interrupt the wait for a batch.
    """

    def __init__(
        self,
        loader: BatchSource,
        generator: torch.Generator,
        cfg: Settings,
        ctx: RunContext,
        *,
        signals: Signals,
    ) -> None:
        self.loader, self.generator, self.ctx, self.signals = loader, generator, ctx, signals
        self.seed, self.accum_steps = cfg["seed"], cfg["accum_steps"]
        self._batches: Iterator[Batch] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in a whole epoch."""
        return -(-len(self.loader) // self.accum_steps)

    def begin(self, epoch: int, *, done: int) -> None:
        """Starts an epoch after its first `done` steps; nothing is read yet."""
        sampler = self.loader.sampler
        sampler.epoch, sampler.skip = epoch, done * self.accum_steps * self.ctx.batch_size
        self._batches = None

    def read_from(self, batches: Iterator[Batch]) -> None:
        """Takes batches from elsewhere, for measurements, until the next `begin`."""
        self._batches = batches

    def read(self, step: int) -> list[Batch]:
        """Returns the batches of the next step, and seeds what the step draws.

        Args:
            step: optimizer steps done in the whole run.

        Raises:
            StopRequested: the run was asked to stop while it waited.
            InputError: there is no batch left.
        """
        own_seed = step_seed(self.seed, step, self.ctx.rank)
        if self._batches is None:
            torch.manual_seed(own_seed)  # loading processes take their seeds from here
            self._batches = iter(self.loader)
        # What a data set draws for itself is another thing: each process has other objects.
        seed_step(own_seed)
        with self.signals.interruptible():
            group = self._read_group()
        if not group:
            raise InputError(
                f"the training split ended before the {self.steps_per_epoch} steps of its epoch: it has become smaller "
                "since the start of the run; go on with --resume"
            )
        if self.ctx.world_size > 1:
            seed_step(step_seed(self.seed, step, 0))
        self.generator.manual_seed(step_seed(self.seed, step, 0) + 1)
        return group

    def _read_group(self) -> list[Batch]:
        assert self._batches is not None
        return [batch for _, batch in zip(range(self.accum_steps), self._batches, strict=False)]


def step_seed(seed: int, step: int, rank: int) -> int:
    """A seed of its own for each step and process."""
    return (seed * 1_000_003 + step * 4_099 + rank) * 2 % (1 << 62)
