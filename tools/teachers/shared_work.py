"""Pieces of work that any number of processes share through a folder, each piece a file that is whole or not there.

Nothing is sent between processes: who finds a piece neither done nor in work does it. A process that is killed leaves
its piece free, and the next start goes on with what is missing.
"""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write
from pointrecon.utils.files.npy import read_npz

POLL_SECONDS = 0.3
Piece = dict[str, np.ndarray]


class SharedWork:
    """Pieces 0 .. n-1, and one last step when all of them are there.

    Args:
        folder: Where the pieces are kept. Its name must say what they are made of: pieces of other work are not told
            apart.
        compute: Number of a piece -> its arrays. The same number must give the same arrays in every process.
        num_pieces: n.
        finish: The last step; it reads the pieces with `read`, and afterwards `is_finished` is true.
        is_finished: Whether the last step is done.
    """

    def __init__(
        self,
        folder: Path,
        compute: Callable[[int], Piece],
        num_pieces: int,
        finish: Callable[[], None],
        is_finished: Callable[[], bool],
    ) -> None:
        self.folder, self.compute, self.num_pieces = folder, compute, num_pieces
        self.finish, self.is_finished = finish, is_finished

    def run(self, progress: Callable[[Iterable[int]], Iterable[int]] = lambda pieces: pieces) -> None:
        """Returns when the last step is done, by this process or by another.

        Args:
            progress: Wraps the pieces that were missing at the start.

        Raises:
            InputError: The folder cannot be made or written, or what `compute` and `finish` raise.
        """
        while not self.is_finished():
            self._make_folder()
            with (self.folder / "locks").open("a+b") as locks:
                missing = self.missing()
                for number in progress(missing) if missing else ():
                    self._do_piece(number, locks)
                # What others were at may be done by now, or they may be gone.
                if not self.missing():
                    with _lock(locks, self.num_pieces) as is_mine:
                        if is_mine and not self.is_finished():
                            self.finish()
            progress = _silent
            if not self.is_finished():
                time.sleep(POLL_SECONDS)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot make the folder '{self.folder}': {error.strerror}; choose another path"
            ) from error

    def missing(self) -> list[int]:
        """The pieces that are not done."""
        done = {path.name for path in self.folder.glob("*.npz")}
        return [number for number in range(self.num_pieces) if self.path(number).name not in done]

    def path(self, number: int) -> Path:
        """The file of a piece."""
        return self.folder / f"{number:07d}.npz"

    def read(self, numbers: Sequence[int] | range) -> Iterator[Piece]:
        """Yields pieces, one at a time.

        Raises:
            InputError: One cannot be read, which no interruption can cause.
        """
        for number in numbers:
            try:
                yield read_npz(self.path(number))
            except (OSError, ValueError) as error:
                raise InputError(
                    f"'{self.path(number)}' is damaged ({error}); remove this file and start the same command again"
                ) from error

    def _do_piece(self, number: int, locks: IO[bytes]) -> None:
        if self.path(number).exists():
            return
        with _lock(locks, number) as is_mine:
            # Another process may have done it, and even the last step, since this one looked.
            if not is_mine or self.path(number).exists() or self.is_finished():
                return
            arrays = self.compute(number)
            with atomic_write(self.path(number)) as temporary:
                np.savez(temporary, **cast(dict[str, Any], arrays))


def _silent(pieces: Iterable[int]) -> Iterable[int]:
    return pieces


@contextlib.contextmanager
def _lock(file: IO[bytes], number: int) -> Iterator[bool]:
    """Says whether byte `number` of the file is this process's until the end of the block; its death ends it, too."""
    try:
        import fcntl
    except ImportError:  # Windows: two processes may then do the same piece twice, with the same outcome
        yield True
        return
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
    except (BlockingIOError, PermissionError):
        yield False
        return
    try:
        yield True
    finally:
        fcntl.lockf(file, fcntl.LOCK_UN, 1, number)
