"""The program from end to end on a few objects: what it writes, and its exit codes."""

import io
import os
import random
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from PIL import Image

from pointrecon.datasets.teacher_cache.reader import FeatureCache
from tests import ROOT
from tests.programs import call_program

PROGRAM = ROOT / "scripts" / "cache_teacher_features.py"
NUM_MANY = 200


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


TEACHER = ("--image", "type=TimmTeacher", "model=test_vit", "pretrained=null", "--text", "--device", "cpu")


def test_makes_a_cache_where_the_data_set_looks_for_it(data_root):
    done = call_program(PROGRAM.name, "--data_root", data_root, *TEACHER, "--views", 3)
    assert done.returncode == 0, done.stderr
    assert "4 objects" in done.stdout and done.stdout.count("\n") == 1
    folder = data_root / "sweethome3d"
    cache = FeatureCache(folder / "teachers.h5")
    assert cache.image_table(["d", "a", "b", "c"]).shape == (4, 3, 64)
    assert set(cache.info) == {"image"} and cache.info["image"]["licence"] == "not stated"
    assert sorted(path.name for path in folder.iterdir()) == ["sweethome3d.h5", "teachers.h5"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image", "model"], "KEY=VALUE"),
        (["--image", "type=TimmTeacher", "model=test_vit", "--data", "SweetHome"], "did you mean 'SweetHome3D'"),
    ],
)
def test_mistakes_end_with_one_sentence_and_leave_nothing(data_root, arguments, message):
    done = call_program(PROGRAM.name, "--data_root", data_root, "--text", *arguments)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ") and message in done.stderr and done.stderr.count("\n") == 1
    assert [path.name for path in (data_root / "sweethome3d").iterdir()] == ["sweethome3d.h5"]


def weights(tmp_path):
    """Weights in a file, so that all processes have the same."""
    import timm
    import torch

    torch.manual_seed(0)
    torch.save(timm.create_model("test_vit", num_classes=0).state_dict(), tmp_path / "eye.pth")
    return ("--image", "type=TimmTeacher", "model=test_vit", f"pretrained={tmp_path / 'eye.pth'}", "--text")


@pytest.fixture
def many(data_root):
    """Many objects: some seconds of work, in several pieces."""
    path = data_root / "sweethome3d" / "sweethome3d.h5"
    with h5py.File(path) as file:
        content = {name: file[name][:] for name in ("points", "class", "split", "name", "icon_webp")}
        classes = file.attrs["classes"]
    with h5py.File(path, "w") as file:
        for name, values in content.items():
            rows = np.arange(NUM_MANY) % 4
            dtype = h5py.vlen_dtype(np.uint8) if name == "icon_webp" else values.dtype
            file.create_dataset(name, data=values[rows], dtype=dtype)
        file.create_dataset("id", data=[f"object{row}" for row in range(NUM_MANY)], dtype=h5py.string_dtype())
        file.attrs["classes"] = classes
    return data_root


@pytest.mark.slow
def test_killed_at_random_moments_it_goes_on_to_the_same_bytes(many, tmp_path):
    command = [sys.executable, str(PROGRAM), "--data_root", str(many), *weights(tmp_path), "--views", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    options = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    whole, cut = tmp_path / "whole.h5", tmp_path / "cut.h5"
    subprocess.run([*command, "--out", str(whole)], check=True, **options)
    moments, draw = 0, random.Random(0)
    while not cut.exists():
        process = subprocess.Popen([*command, "--out", str(cut)], **options)
        time.sleep(draw.uniform(0, 3 + moments))
        process.send_signal(signal.SIGKILL)
        process.wait()
        moments += 1
        assert moments < 40
    assert moments > 1
    subprocess.run([*command, "--out", str(cut)], check=True, **options)
    assert cut.read_bytes() == whole.read_bytes() and not list(tmp_path.glob(".cut*"))


@pytest.mark.slow
def test_several_processes_make_one_file(many, tmp_path):
    command = [sys.executable, str(PROGRAM), "--data_root", str(many), *weights(tmp_path), "--views", "2"]
    subprocess.run([*command, "--out", str(tmp_path / "one.h5")], check=True, capture_output=True)
    two = [subprocess.Popen([*command, "--out", str(tmp_path / "two.h5")]) for _ in range(2)]
    assert [process.wait(timeout=300) for process in two] == [0, 0]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29677"]
    done = subprocess.run(
        [*launcher, *command[1:], "--out", str(tmp_path / "three.h5")], capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.count(f"{NUM_MANY} objects") == 1, done.stderr[-2000:]
    contents = [(tmp_path / f"{name}.h5").read_bytes() for name in ("one", "two", "three")]
    assert contents[0] == contents[1] == contents[2]
