"""What every command-line program here has in common: its exit codes, and mistakes told in one sentence.

Standard library only: --help answers at once.
"""

import argparse
import codecs
import contextlib
import errno
import logging
import multiprocessing
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from pointrecon.utils.errors import InputError

# What the system says of paths that somebody has named, and that no reader has looked at before.
UNUSABLE = (errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EROFS)
PLAIN = {"±": "+-", "µ": "u", "×": "x", "–": "-", "—": "-", "→": "->", "’": "'", "“": '"', "”": '"'}


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, as every other mistake of the user is told."""

    def error(self, message: str) -> NoReturn:
        """Raises InputError."""
        command = f"python {self.prog}" if self.prog.endswith(".py") else self.prog
        raise InputError(f"{message}; {command} --help lists all flags")


def use_plain_console() -> None:
    """Lets stdout and stderr write what their encoding lacks in plain letters: `+-` for a plus-minus sign, else `?`."""
    codecs.register_error("plain", _to_plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="plain")


def _to_plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(PLAIN.get(letter, "?") for letter in text), error.end


def exit_code(run: Callable[[], int | None]) -> int:
    """Runs a program.

    Returns:
        What the program returns, None as 0; 2 for bad input, with one sentence on stderr; 130 if it was interrupted.
        Any other error is a traceback.
    """
    use_plain_console()
    try:
        return run() or 0
    except InputError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return 2
    except BrokenPipeError:  # whoever read the output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in UNUSABLE or error.filename is None:
            raise
        sys.stderr.write(f"error: '{error.filename}' cannot be used ({error.strerror}); name another path\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


def end(code: int) -> NoReturn:
    """Ends the program; one process of several without taking the interpreter down first.

    Threads of the libraries that connect processes may still want the interpreter, or be destroyed as they run, while
    it goes: now and then that aborts a process which has done all of its work, and torchrun takes the run for failed.

    Args:
        code: The exit code.
    """
    if os.environ.get("WORLD_SIZE", "1") in ("", "0", "1"):
        sys.exit(code)
    for child in multiprocessing.active_children():
        child.terminate()
    with contextlib.suppress(OSError, ValueError):  # nobody may be listening any more
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
