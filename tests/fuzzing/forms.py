"""What a target of the fuzzer is made of."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class WrongResult(Exception):
    """A spoilt file was read without complaint, and what came of it cannot be."""


@dataclass(frozen=True)
class Form:
    """One kind of input.

    Attributes:
        name: For the report.
        write: Writes valid files into a folder.
        read: Reads them; raises WrongResult.
        spoil: Spoils one of the files.
        spare: Ends of names of files that are left as they are.
    """

    name: str
    write: Callable[[Path], None]
    read: Callable[[Path], None]
    spoil: Callable[[Path, random.Random], None]
    spare: tuple[str, ...] = ()
