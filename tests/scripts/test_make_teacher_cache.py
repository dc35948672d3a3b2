"""The program from end to end on a few objects: what it writes, and its exit codes."""

import io
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from datasets.features import FeatureCache

PROGRAM = Path(__file__).resolve().parents[2] / "scripts" / "make_teacher_cache.py"


@pytest.fixture
def data_root(tmp_path):
    """A data set of four objects in the layout of the bundled one."""
    path = tmp_path / "sweethome3d" / "sweethome3d.h5"
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        file["points"] = np.random.RandomState(0).randn(4, 8, 3).astype(np.float16)
        file["class"], file["split"] = np.array([0, 1, 0, 2]), np.array([0, 0, 1, 0])
        file.create_dataset("id", data=["a", "b", "c", "d"], dtype=h5py.string_dtype())
        file.create_dataset("name", data=["Bed", "Lamp", "Bunk bed", "Rug"], dtype=h5py.string_dtype())
        icons = file.create_dataset("icon_webp", (4,), dtype=h5py.vlen_dtype(np.uint8))
        for row in range(4):
            picture = io.BytesIO()
            Image.new("RGB", (32, 32), (60 * row, 90, 120)).save(picture, "WEBP")
            icons[row] = np.frombuffer(picture.getvalue(), dtype=np.uint8)
        file.attrs["classes"] = ["bed", "lamp", "other"]
    return tmp_path


def run(*arguments):
    return subprocess.run([sys.executable, PROGRAM, *map(str, arguments)], capture_output=True, text=True)


def test_makes_a_cache_where_the_data_set_looks_for_it(data_root):
    teacher = ("--image", "type=TimmTeacher", "model=test_vit", "pretrained=null", "--text")
    done = run("--data_root", data_root, *teacher, "--views", 3)
    assert done.returncode == 0, done.stderr
    assert "4 objects" in done.stdout
    cache = FeatureCache(data_root / "sweethome3d" / "teachers.h5")
    assert cache.image_table(["d", "a", "b", "c"]).shape == (4, 3, 64)
    assert set(cache.info) == {"image"} and cache.info["image"]["licence"] == "not stated"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image", "model"], "KEY=VALUE"),
        (["--image", "--data", "SweetHome"], "did you mean 'SweetHome3D'"),
    ],
)
def test_mistakes_end_with_one_sentence_and_leave_nothing(data_root, arguments, message):
    done = run("--data_root", data_root, "--text", *arguments)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ") and message in done.stderr and done.stderr.count("\n") == 1
    assert [path.name for path in (data_root / "sweethome3d").iterdir()] == ["sweethome3d.h5"]
