"""Programs of scripts/ inside the process of the tests, which has imported torch already."""

import contextlib
import io
import os
import runpy
import sys
from pathlib import Path
from typing import NamedTuple

from tests import ROOT


class Done(NamedTuple):
    """How a program ended, as `subprocess.run` says it."""

    returncode: int
    stdout: str
    stderr: str


def call_program(name: str, *arguments: object, cwd: Path = ROOT) -> Done:
    """Runs scripts/NAME as `python scripts/NAME ARGUMENTS` in a folder would, but for the start of a process."""
    before, place = sys.argv, Path.cwd()
    path = str(ROOT / "scripts" / name)
    code: object = 0
    os.chdir(cwd)
    sys.argv = [path, *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            try:
                runpy.run_path(path, run_name="__main__")
            except SystemExit as stop:
                code = stop.code or 0
    finally:
        sys.argv = before
        os.chdir(place)
    assert isinstance(code, int), code
    return Done(code, out.getvalue(), err.getvalue())
