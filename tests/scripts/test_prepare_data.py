"""The command: mistakes are one sentence with exit code 2."""

import subprocess
import sys

import pytest

from tests import ROOT

PROGRAM = ROOT / "scripts" / "prepare_data.py"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["debshapes", "--sources", "kikad"], "there is no source 'kikad'"),
        (["shapenet"], "invalid choice: 'shapenet'"),
        (["debshapes", "epochs=1"], "'epochs=1' is not known here"),
        (["shards", "--config", "x.yaml", "--out", "y", "word"], "'word' is not known here"),
        (["shards", "--config", "x.yaml"], "--out"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, arguments, message):
    place = [] if "shards" in arguments else ["--data_root", str(tmp_path)]
    command = [sys.executable, str(PROGRAM), *arguments, *place]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 2 and message in result.stderr, result.stderr
    assert "Traceback" not in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir()), "nothing was written"
