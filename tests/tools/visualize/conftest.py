"""Small files as a run leaves them, and what makes a picture a picture."""

import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def check_picture():
    """A function that returns the picture's size and fails unless the file is a PNG with something on it."""

    def check(path):
        with Image.open(path) as image:
            assert image.format == "PNG"
            pixels = np.asarray(image.convert("RGB"))
        height, width, _ = pixels.shape
        assert 600 <= width <= 1900 and 300 <= height <= 3000
        is_ink = (pixels < 200).any(axis=2)
        assert 0.002 < is_ink.mean() < 0.9
        return width, height

    return check


@pytest.fixture
def metrics(tmp_path):
    """metrics.jsonl of a run of 5 epochs."""

    def record(split, epoch, **values):
        return json.dumps({"split": split, "epoch": epoch, "step": 10 * epoch, **values}) + "\n"

    lines = []
    for epoch in range(1, 6):
        lines.append(record("train", epoch, loss=2 / epoch, chamfer=1 / epoch, lr=1e-3, shapes_per_second=100.0))
        lines.append(record("val", epoch, accuracy=0.1 * epoch, num_objects=40))
    lines.append(record("test", 5, accuracy=0.45, num_objects=20))
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(lines))
    return path


@pytest.fixture
def predictions(tmp_path):
    """predictions.npz of six objects and three classes."""
    path = tmp_path / "predictions.npz"
    names = ["chair", "night_stand", "lamp"]
    np.savez(path, ids=list("abcdef"), labels=[0, 0, 0, 1, 1, 2], predictions=[0, 0, 1, 1, 1, 0], class_names=names)
    return path


@pytest.fixture
def reconstructions():
    """Arrays of reconstructions.npz: three shapes of 40 points, 4 patches of 8, 2 of them masked."""
    random = np.random.default_rng(0)
    mask = np.array([[True, False, True, False], [False, True, True, False], [False, False, True, True]])
    return {
        "points": random.uniform(-0.5, 0.5, (3, 40, 3)).astype(np.float32),
        "patches": random.normal(0, 0.1, (3, 4, 8, 3)).astype(np.float32),
        "centers": random.uniform(-0.5, 0.5, (3, 4, 3)).astype(np.float32),
        "mask": mask,
        "rebuilt": random.normal(0, 0.1, (3, 2, 8, 3)).astype(np.float32),
        "names": np.array(["chair", "lamp", "a name that is rather too long for the place below its three pictures"]),
    }


@pytest.fixture
def embeddings(tmp_path):
    """embeddings.npz: 30 objects in three far-apart classes."""
    labels = np.arange(30) % 3
    values = 8.0 * np.eye(5)[labels] + np.random.default_rng(0).normal(size=(30, 5))
    path = tmp_path / "embeddings.npz"
    split = np.where(np.arange(30) < 20, "train", "test")
    np.savez(
        path, ids=np.arange(30).astype(str), labels=labels, embeddings=values, class_names=list("abc"), split=split
    )
    return path
