"""Values that must be the same in all processes of a run."""

import hashlib
from collections.abc import Mapping
from typing import Any

from pointrecon.utils.errors import InputError
from pointrecon.utils.processes import distributed
from pointrecon.utils.processes.connection import PeerError

MAX_SHOWN = 5


def check_alike(values: Mapping[str, Any]) -> None:
    """Compares values between the processes; all of them must call this. Only a digest is sent if they agree.

    Args:
        values: By name; equal if their `repr` is.

    Raises:
        InputError: In the main process: some differ, with their names and what each process has.
        PeerError: The same, in the others.
    """
    texts = {name: repr(value) for name, value in sorted(values.items())}
    digest = hashlib.sha256(repr(texts).encode()).hexdigest()
    if len(set(distributed.all_gather_objects(digest))) == 1:
        return
    everyone = distributed.all_gather_objects(texts)
    if not distributed.is_main():
        raise PeerError("the processes differ")
    names = sorted({name for texts in everyone for name in texts})
    differing = [name for name in names if len({texts.get(name) for texts in everyone}) > 1]
    shown = [f"{name} is {_by_process([texts.get(name, 'not there') for texts in everyone])}" for name in differing]
    more = f"; and {len(shown) - MAX_SHOWN} more" if len(shown) > MAX_SHOWN else ""
    raise InputError(
        f"the {len(everyone)} processes are not of one run: {'; '.join(shown[:MAX_SHOWN])}{more}; start all of them "
        "with the same code, config and flags"
    )


def _by_process(texts: list[str]) -> str:
    groups: dict[str, list[str]] = {}
    for number, text in enumerate(texts):
        groups.setdefault(text, []).append(str(number))
    return " and ".join(f"{text} in process {', '.join(numbers)}" for text, numbers in groups.items())
