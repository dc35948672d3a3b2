"""Programs of scripts/ inside the process of the tests, which has imported torch already."""

import contextlib
import io
import multiprocessing
import multiprocessing.forkserver
import os
import runpy
import sys
from collections.abc import Callable
from multiprocessing.context import ForkProcess
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
    path = str(ROOT / "scripts" / name)
    return _call(runpy.run_path, path, arguments, cwd)


def call_module(name: str, *arguments: object, cwd: Path = ROOT) -> Done:
    """Runs `python -m NAME ARGUMENTS` in a folder likewise."""
    return _call(runpy.run_module, name, arguments, cwd)


def _call(run: Callable[..., object], name: str, arguments: tuple[object, ...], cwd: Path) -> Done:
    before, place = sys.argv, Path.cwd()
    code: object = 0
    os.chdir(cwd)
    sys.argv = [name, *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            try:
                run(name, run_name="__main__")
            except SystemExit as stop:
                code = stop.code or 0
    finally:
        sys.argv = before
        os.chdir(place)
    assert isinstance(code, int), code
    return Done(code, out.getvalue(), err.getvalue())


def fork_program(name: str, *arguments: object, log: Path, encoding: str = "utf-8") -> ForkProcess:
    """Starts scripts/NAME in a child of the tests' process; `log` gets what it prints on a console of this encoding."""
    return fork_call(_be_program, name, arguments, log=log, encoding=encoding)


def fork_call(function: Callable[..., None], *arguments: object, log: Path, encoding: str = "utf-8") -> ForkProcess:
    """Starts a function in a child of the tests' process; pools and sweeps in it have children of the warm server."""
    multiprocessing.get_context("forkserver").set_forkserver_preload([])
    multiprocessing.forkserver.ensure_running()
    child = multiprocessing.get_context("fork").Process(target=_be_child, args=(function, arguments, log, encoding))
    child.start()
    return child


def _be_child(function: Callable[..., None], arguments: tuple[object, ...], log: Path, encoding: str) -> None:
    server = multiprocessing.forkserver.connect_to_new_process.__self__
    server.ensure_running = lambda: None  # it runs, but is no child of this process
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout = sys.stderr = open(1, "w", buffering=1, encoding=encoding, closefd=False)
    os.chdir(ROOT)
    function(*arguments)


def _be_program(name: str, arguments: tuple[object, ...]) -> None:
    sys.argv = [str(ROOT / "scripts" / name), *map(str, arguments)]
    runpy.run_path(sys.argv[0], run_name="__main__")
