"""How much a file may become when it is read: the one limit that every reader keeps.

A small file can unpack to more than the memory, or claim sizes that nothing backs. Points and weights grow less than
4 times, and texts of numbers about 10 times, so every reader allows `allowed_bytes` and no more, before it allocates.
"""

from pathlib import Path

from pointrecon.utils.errors import InputError

ALWAYS_ALLOWED = 64 << 20  # bytes that a file may become, however small it is
MAX_GROWTH = 16  # times its own size that it may become beyond that
MAX_OBJECTS_BYTES = 512 << 20  # bytes of Python objects that a text may become, whatever its size


class LimitError(ValueError):
    """A file becomes larger than its size allows."""


def allowed_bytes(stored: int, growth: int = MAX_GROWTH) -> int:
    """Returns how many bytes a file or a part of one may become.

    Args:
        stored: Its size in the file, in bytes.
        growth: Times that size; only for what never is in memory as a whole.
    """
    return ALWAYS_ALLOWED + growth * stored


def check_growth(claimed: int, stored: int, growth: int = MAX_GROWTH) -> None:
    """Refuses what would become larger than it may.

    Args:
        claimed: Bytes that it says, or turns out, to become.
        stored: Bytes that it has in the file.
        growth: See `allowed_bytes`.

    Raises:
        LimitError: It is larger.
    """
    allowed = allowed_bytes(stored, growth)
    if claimed > allowed:
        raise LimitError(f"{stored:,} bytes in it unpack to {claimed:,} or more, but may to {allowed:,} at most")


def read_bytes(path: str | Path, limit: int) -> bytes:
    """Reads a whole file that has at most `limit` bytes.

    Raises:
        InputError: It has more.
        OSError: It cannot be read.
    """
    path = Path(path)
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise InputError(
            f"'{path}' has {path.stat().st_size:,} bytes, but such files have {limit:,} at most; is it the right file?"
        )
    return data
