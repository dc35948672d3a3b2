"""Which checkpoints a run writes, and which of them are left when it has finished."""

from collections.abc import Callable, Mapping, Sequence
from logging import Logger
from pathlib import Path
from typing import Any

import torch

from pointrecon.tools.checkpoints import checkpoint
from pointrecon.tools.checkpoints.snapshot import BEST, LAST, PREVIOUS, save_last
from pointrecon.tools.settings import Settings

# What only a run that is trained further needs.
TRAINING_PARTS = ("optimizer", "parameter_names", "random_state", "hooks")


def is_step_saved(cfg: Settings, num_steps: int) -> bool:
    """Whether `save_every` asks for a checkpoint after so many steps."""
    return bool(cfg["save_every"]) and num_steps % cfg["save_every"] == 0


def is_epoch_saved(cfg: Settings, epoch: int, last_epoch: int) -> bool:
    """Whether there is a checkpoint after so many epochs, whatever they were like."""
    return epoch % cfg["save_epochs"] == 0 or epoch == last_epoch or epoch in cfg["keep_epochs"]


def names_of_epoch(cfg: Settings, epoch: int, *, is_best: bool) -> list[str]:
    """Files of a checkpoint after an epoch; the one that says that the epoch is done comes last."""
    kept = [f"ckpt-epoch-{epoch}.pth"] if epoch in cfg["keep_epochs"] else []
    return [*([BEST] if is_best else []), *kept, LAST]


def write_into(folder: Path) -> Callable[[Mapping[str, Any], Sequence[str]], None]:
    """A function that writes a checkpoint into a run folder under several names, one file after the other."""

    def write(content: Mapping[str, Any], names: Sequence[str]) -> None:
        for name in names:
            if name == LAST:
                save_last(content, folder)
            else:
                checkpoint.save_checkpoint(content, folder / name)

    return write


def tidy(folder: Path, keep: str, logger: Logger) -> None:
    """Reduces the checkpoints of a finished run to what `keep` asks for, and says so.

    Files of `keep_epochs` were asked for one by one and stay whole.

    Args:
        folder: the run folder.
        keep: `weights`: the last and the best checkpoint without what only further training needs; `resume`: the last
            one whole, so that more epochs can be trained; `all`: everything as it was written.
        logger: is told what is left.
    """
    if keep == "all":
        return
    (folder / PREVIOUS).unlink(missing_ok=True)
    reduced = [name for name in ((LAST, BEST) if keep == "weights" else (BEST,)) if (folder / name).is_file()]
    for name in reduced:
        _reduce(folder / name)
    size = sum(path.stat().st_size for path in folder.glob("ckpt-*.pth")) / 1e6
    parts = f"{' and '.join(reduced)} keeping the weights alone" if reduced else "nothing removed from them"
    more = "; keep=resume would keep what further training needs" if keep == "weights" else ""
    logger.info(f"keep={keep}: {size:.1f} MB of checkpoints, {parts}{more}")


def _reduce(path: Path) -> None:
    content: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if any(name in content for name in TRAINING_PARTS):
        kept = {name: value for name, value in content.items() if name not in TRAINING_PARTS}
        checkpoint.save_checkpoint({**kept, "kept": "weights"}, path)
