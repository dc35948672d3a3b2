"""Exit codes of the command-line programs."""

import sys

import pytest

from utils.errors import InputError
from utils.program import Parser, exit_code


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


def test_a_reader_that_has_gone_is_no_traceback():
    import subprocess

    code = "import sys; from utils.program import exit_code\nsys.exit(exit_code(lambda: print('x' * 10**6)))"
    command = f'{sys.executable} -c "{code}" | head -c 1'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout == "x" and done.stderr == ""


def test_a_wrong_flag_is_one_sentence():
    parser = Parser("tool.py")
    parser.add_argument("--size", type=int)
    with pytest.raises(InputError, match="invalid int value: 'x'; python tool.py --help"):
        parser.parse_args(["--size", "x"])
