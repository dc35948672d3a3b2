"""All pictures of a run folder."""

import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest

from pointrecon.tools.visualize import draw_folder, draw_run, name_runs
from pointrecon.utils.errors import InputError


@pytest.fixture
def folder(metrics, predictions):
    shutil.copy(predictions, predictions.with_name("predictions-zero_shot.npz"))
    return metrics.parent


def test_a_run_gets_the_pictures_that_its_files_allow(folder, reconstructions, embeddings, check_picture):
    np.savez(folder / "reconstructions.npz", **{name: array[:1] for name, array in reconstructions.items()})
    pictures = draw_run(folder)
    names = ["curves", "confusion", "confusion-zero_shot", "reconstruction", "tsne"]
    assert pictures == [folder / "figures" / f"{name}.png" for name in names]
    for picture in pictures:
        check_picture(picture)


def test_an_empty_folder_has_none(tmp_path):
    assert draw_run(tmp_path) == []
    assert not (tmp_path / "figures").exists()
    with pytest.raises(InputError, match="holds nothing to draw; a run folder has some of: metrics.jsonl"):
        draw_folder(tmp_path)


def test_a_broken_file_does_not_stop_a_run_but_the_command(folder, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("recon"), "propagate", True)
    (folder / "predictions.npz").write_bytes(b"PK\x03\x04 cut off")
    with caplog.at_level(logging.WARNING, logger="recon"):
        pictures = draw_run(folder)
    assert [picture.stem for picture in pictures] == ["curves", "confusion-zero_shot"]
    assert "left out a picture" in caplog.text and "predictions.npz" in caplog.text
    with pytest.raises(InputError, match="predictions.npz' is not a complete .npz file"):
        draw_folder(folder)


def test_runs_are_named_by_what_tells_them_apart(tmp_path):
    folders = [tmp_path / "a" / "run", tmp_path / "b" / "run", tmp_path / "a" / "run"]
    assert list(name_runs(folders)) == ["a/run", "b/run"]
    assert list(name_runs([tmp_path / "x", tmp_path / "y"])) == ["x", "y"]


def test_importing_the_package_loads_no_matplotlib():
    code = "import sys, pointrecon.tools.visualize; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
