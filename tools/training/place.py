"""Where in an epoch an interrupted run goes on, also if its epochs have another number of steps now."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pointrecon.tools.checkpoints.resume import ResumeError
from pointrecon.tools.checkpoints.snapshot import State
from pointrecon.tools.protocol import num_epochs
from pointrecon.tools.settings import Settings


def find_place(
    state: State, content: Mapping[str, Any], cfg: Settings, *, steps_per_epoch: int
) -> tuple[State, str | None]:
    """The place of a checkpoint in the epochs of this run.

    With another batch size, accumulation, number of processes or of samples, an epoch has other steps. The place is
    then where as many samples of the epoch have been trained on, at the nearest step; whole epochs stay whole, and the
    learning rate is the one of this progress.

    Args:
        state: of the checkpoint.
        content: the checkpoint.
        cfg: the whole config of this run.
        steps_per_epoch: of this run.

    Returns:
        The state with `epoch_steps` in steps of this run, and what has changed as a sentence, None if nothing.

    Raises:
        InputError: the counts in the checkpoint contradict each other.
    """
    before, now = content["config"], _samples_per_step(cfg)
    try:
        samples = _samples_per_step(before)
        total = content["schedule"]["total_steps"]
        # Older checkpoints say only how many steps the whole run has.
        steps = content["schedule"].get("steps_per_epoch", total // max(num_epochs(before), 1))
        is_sound = 0 <= state.epoch_steps <= steps and samples > 0 and steps >= 0
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ResumeError(content["path"], f"its config does not say how long its epochs were ({error!r})") from error
    if not is_sound:
        raise ResumeError(
            content["path"], f"it claims {state.epoch_steps} steps in an epoch of {steps}; the file is damaged"
        )
    if (steps, samples) == (steps_per_epoch, now):
        return state, None
    done = round(state.epoch_steps * samples / now)
    # An epoch that was only just finished stays finished, and one that was begun in this run's last step, too.
    done = steps_per_epoch if state.epoch_steps == steps else min(done, steps_per_epoch)
    change = (
        f"an epoch had {steps} steps of {samples} samples and has {steps_per_epoch} of {now}: after "
        f"{state.epoch_steps} steps of epoch {state.epoch + 1}, the run goes on as after {done}"
    )
    return replace(state, epoch_steps=done), change


def _samples_per_step(cfg: Settings) -> int:
    return int(cfg["batch_size"]) * int(cfg["accum_steps"])
