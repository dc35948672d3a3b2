"""What every command-line program here has in common: its exit codes, and mistakes told in one sentence.

Standard library only: --help answers at once.
"""

import argparse
import contextlib
import logging
import multiprocessing
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from pointrecon.utils.errors import InputError


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, as every other mistake of the user is told."""

    def error(self, message: str) -> NoReturn:
        """Raises InputError."""
        raise InputError(f"{message}; python {self.prog} --help lists all flags")


def exit_code(run: Callable[[], int | None]) -> int:
    """Runs a program.

    Returns:
        What the program returns, None as 0; 2 for bad input, with one sentence on stderr; 130 if it was interrupted.
        Any other error is a traceback.
    """
    try:
        return run() or 0
    except InputError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return 2
    except BrokenPipeError:  # whoever read the output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
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
