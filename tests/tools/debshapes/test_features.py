"""The teachers' step: several processes with the right arguments, and what is told when it cannot be done."""

import json
import logging

import pytest

from pointrecon.tools.debshapes import features as module
from pointrecon.tools.debshapes.features import make_features
from pointrecon.utils.errors import InputError


@pytest.fixture
def program(tmp_path):
    """A program that notes its arguments, and fails if a file 'fail' is there."""
    path = tmp_path / "program.py"
    path.write_text(
        "import json, os, pathlib, sys\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "text = json.dumps([sys.argv[1:], os.environ['OMP_NUM_THREADS']])\n"
        "(folder / f'call-{os.getpid()}.json').write_text(text)\n"
        "sys.exit(2 if (folder / 'fail').exists() else 0)\n"
    )
    return path


def test_processes_share_the_work(tmp_path, program, monkeypatch):
    monkeypatch.setattr(module, "PACKAGES", ("torch",))
    assert make_features(tmp_path, "DebShapes", 2, program)
    calls = [json.loads(path.read_text()) for path in tmp_path.glob("call-*.json")]
    assert len(calls) == 2 and calls[0] == calls[1]
    options = dict(zip(calls[0][0][::2], calls[0][0][1::2], strict=True))
    assert options == {"--data": "DebShapes", "--data_root": str(tmp_path), "--views": "4", "--templates": "20"}
    assert calls[0][1] == "1"
    (tmp_path / "fail").touch()
    with pytest.raises(InputError, match=r"exit codes \[2\]; run the same command again"):
        make_features(tmp_path, "DebShapes", 1, program)


def test_missing_packages_are_named(tmp_path, program, monkeypatch, caplog):
    monkeypatch.setattr(module, "PACKAGES", ("torch", "no_such_package"))
    caplog.set_level("WARNING", "recon")
    logging.getLogger("recon").propagate = True
    assert not make_features(tmp_path, "DebShapes", 2, program)
    assert "no_such_package is not installed" in caplog.text and "[teachers]" in caplog.text
    assert not list(tmp_path.glob("call-*.json"))
