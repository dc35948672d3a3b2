"""Writes checkpoints beside the training loop: the loop waits for a copy in memory, not for the disk."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import torch
from torch import Tensor


class CheckpointWriter:
    """Writes in a thread, from a copy, one checkpoint at a time. A context manager: at its end everything is written.

    The copy is one checkpoint large and stays allocated between two writes. A checkpoint that is given while the one
    before is still being written waits for it, so that there are never two copies.

    Args:
        write: called with the copy and the names of the files; runs in the thread.
    """

    def __init__(self, write: Callable[[dict[str, Any], Sequence[str]], None]) -> None:
        self._write = write
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future | None = None
        self._buffers: dict[tuple, Tensor] = {}

    def submit(self, content: Mapping[str, Any], names: Sequence[str]) -> None:
        """Copies a checkpoint and returns; the files are written meanwhile.

        Raises:
            InputError: the checkpoint before could not be written.
        """
        self.wait()
        self._pending = self._threads.submit(self._write, self._copy(content), names)

    def check(self) -> None:
        """Raises what the thread has raised, if it has ended. Costs nothing; to be called at every step."""
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Waits until nothing is left to write, and raises what the thread has raised."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self.wait()
        except Exception:
            if kind is None:  # otherwise the first error is the one to tell
                raise
        finally:
            self._threads.shutdown()

    def _copy(self, value: Any, place: tuple = ()) -> Any:
        """A copy on the CPU that later steps do not change; tensors go into the memory of the copy before."""
        if isinstance(value, Tensor):
            return self._copy_tensor(value.detach(), place)
        if isinstance(value, Mapping):
            return {key: self._copy(item, (*place, key)) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self._copy(item, (*place, number)) for number, item in enumerate(value))
        return value

    def _copy_tensor(self, tensor: Tensor, place: tuple) -> Tensor:
        buffer = self._buffers.get(place)
        if buffer is None or buffer.shape != tensor.shape or buffer.dtype != tensor.dtype:
            buffer = self._buffers[place] = torch.empty(tensor.shape, dtype=tensor.dtype)
        return buffer.copy_(tensor)
