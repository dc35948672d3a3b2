"""Exit codes of the command-line programs."""

import io
import os
import signal
import subprocess
import sys

import pytest

from pointrecon.utils.errors import InputError
from pointrecon.utils.program import Parser, exit_code


def fail(error):
    def run():
        raise error

    return run


def test_exit_codes(capsys):
    assert exit_code(lambda: None) == 0 and exit_code(lambda: 1) == 1
    assert exit_code(fail(InputError("no\n  such file"))) == 2
    assert capsys.readouterr().err == "error: no such file\n"
    assert exit_code(fail(KeyboardInterrupt())) == 130
    with pytest.raises(ZeroDivisionError):
        exit_code(fail(ZeroDivisionError()))


def test_paths_that_the_system_refuses_are_one_sentence(capsys, tmp_path):
    long, loop = "a" * 300, tmp_path / "loop"
    loop.symlink_to(loop)
    for path, reason in ((long, "File name too long"), (str(loop), "Too many levels"), (__file__ + "/a", "Not a dir")):
        assert exit_code(lambda path=path: os.stat(path) and None) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: '{path}' cannot be used ({reason}") and error.count("\n") == 1
    with pytest.raises(FileNotFoundError):  # nobody's mistake but the program's: readers look first
        exit_code(lambda: os.stat(tmp_path / "none") and None)


def test_a_reader_that_has_gone_is_no_traceback():
    code = "import sys; from utils.program import exit_code\nsys.exit(exit_code(lambda: print('x' * 10**6)))"
    command = f'{sys.executable} -c "{code}" | head -c 1'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout == "x" and done.stderr == ""


# Stands for a thread that is destroyed as it runs: aborts what ends in the usual way.
ABORTS = """
import atexit, os, sys
from pointrecon.utils.program import end
atexit.register(os.abort)
print("result")
sys.stderr.write("note")
end(int(sys.argv[1]))
"""


@pytest.mark.parametrize("code", [0, 2])
def test_one_of_several_processes_ends_without_what_aborts_interpreters(code):
    command = [sys.executable, "-c", ABORTS, str(code)]
    runs = [
        subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "WORLD_SIZE": size})
        for size in ("2", "1")
    ]
    assert [run.returncode for run in runs] == [code, -signal.SIGABRT]
    assert (runs[0].stdout, runs[0].stderr) == ("result\n", "note"), "written out, although it is no terminal"


def test_a_wrong_flag_is_one_sentence():
    parser = Parser("tool.py")
    parser.add_argument("--size", type=int)
    with pytest.raises(InputError, match="invalid int value: 'x'; python tool.py --help"):
        parser.parse_args(["--size", "x"])


def test_a_console_without_the_letters_gets_plain_ones(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # a stream that cannot be told is left alone
    assert exit_code(lambda: print("0.5 ± 0.1 → größer")) == 0
    assert raw.getvalue() == b"0.5 +- 0.1 -> gr??er\n"
