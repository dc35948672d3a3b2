"""What the machine is at fault for, told in one sentence: no memory, a full disk, a file or a process that has gone."""

import contextlib
import re
from collections.abc import Iterator

import torch

from pointrecon.tools.settings import Settings
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import describe_write_fault, write_fault

# How torch says on a CPU that there is no memory; it has a type of its own for GPUs only.
NO_MEMORY = re.compile(r"can.t allocate memory|not enough memory|cannot allocate memory|bad_alloc|out of memory", re.I)
DEAD_WORKER = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (.*)", re.S)
FROM_WORKER = re.compile(r"Caught (\w+) in DataLoader worker process \d+\.")


@contextlib.contextmanager
def explained(cfg: Settings) -> Iterator[None]:
    """Turns an error of the block that the machine is at fault for into an InputError; others pass.

    Args:
        cfg: the whole config.

    Raises:
        InputError: what has happened, and what to do.
    """
    try:
        yield
    except Exception as error:
        sentence = explain(error, cfg)
        if sentence is None:
            raise
        raise InputError(sentence) from error


def explain(error: Exception, cfg: Settings) -> str | None:
    """The sentence for an error, None if it is not one of these.

    Args:
        error: also one that a process which loads data has passed on.
        cfg: the whole config.
    """
    text = str(error)
    passed_on = FROM_WORKER.match(text)
    if passed_on:
        # The last line is the error itself, what is before it the way there; more lines belong to its message.
        text = text[text.rindex(f"{passed_on[1]}: ") + len(passed_on[1]) + 2 :] if f"{passed_on[1]}: " in text else text
        if passed_on[1] == "InputError":
            return text.strip()
    elif isinstance(error, InputError):
        return None
    dead = DEAD_WORKER.search(text)
    if dead:
        reason = dead[2].strip().rstrip(". ").split(". ")[0]
        return (
            f"a process that loads data (pid {dead[1].strip()}) {reason}; often there is too little memory: give "
            f"num_workers={cfg['num_workers'] // 2} or more memory, and go on with --resume"
        )
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or NO_MEMORY.search(text):
        return _explain_memory(error, cfg)
    fault = write_fault(error)
    if fault is not None:
        place = f"'{fault.filename}'" if fault.filename else f"into '{cfg['output_root']}'"
        return f"cannot write {place}: {describe_write_fault(fault, cfg['output_root'])}, with --resume"
    is_gone = isinstance(error, FileNotFoundError) or (passed_on and passed_on[1] == "FileNotFoundError")
    if is_gone:
        return f"a file that was there at the start of the run has gone: {text.strip()}; put it back and give --resume"
    return None


def _explain_memory(error: Exception, cfg: Settings) -> str:
    is_gpu = isinstance(error, torch.OutOfMemoryError)
    batch, steps = cfg["batch_size"], cfg["accum_steps"]
    advice = f"batch_size={max(batch // 2, 1)} accum_steps={steps * 2} (the same step in smaller parts)"
    if cfg["precision"] == "fp32":
        advice += " or precision=bf16"
    asked = re.search(r"[Tt]ried to allocate ([\d.,]+ \w+)", str(error))
    size = f" (it asked for {asked[1].rstrip('.')})" if asked else ""
    return (
        f"out of memory{' on the GPU' if is_gpu else ''}{size} with batch_size={batch}, accum_steps={steps} and "
        f"precision={cfg['precision']}; give {advice}, and --resume if a checkpoint was written"
    )
