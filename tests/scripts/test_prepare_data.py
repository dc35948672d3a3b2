"""The command: mistakes are one sentence with exit code 2."""

import pytest

from tests.programs import call_program


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
    result = call_program("prepare_data.py", *arguments, *place, cwd=tmp_path)
    assert result.returncode == 2 and message in result.stderr, result.stderr
    assert "Traceback" not in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir()), "nothing was written"
