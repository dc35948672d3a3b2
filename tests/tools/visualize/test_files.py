"""Reading what a run leaves."""

import numpy as np
import pytest

from pointrecon.tools.visualize.files import check_classes, read_arrays, read_metrics
from pointrecon.utils.errors import InputError


def test_arrays_are_read_and_their_shapes_agree(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, points=np.zeros((2, 5, 3)), names=["a", "b"], more=1)
    data = read_arrays(path, {"points": "nN3", "names": "n"})
    assert set(data) == {"points", "names"} and data["points"].shape == (2, 5, 3)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"points": np.zeros((2, 5, 3))}, "x.npz' lacks names; it holds: points"),
        ({"points": np.zeros((2, 5, 4)), "names": ["a", "b"]}, r"points has the shape \(2, 5, 4\)"),
        ({"points": np.zeros((5, 3)), "names": ["a"]}, r"points has the shape \(5, 3\), but must be \(n, N, 3\)"),
        ({"points": np.zeros((2, 5, 3)), "names": ["a"]}, r"names has the shape \(1,\), but must be \(n,\) with n=2"),
        ({"points": np.full((1, 5, 3), np.nan), "names": ["a"]}, "points holds NaN"),
        ({"points": np.zeros((0, 5, 3)), "names": np.zeros(0, str)}, "no objects"),
        ({"points": np.array([None, 1]), "names": ["a"]}, "not a complete .npz"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(InputError, match=message):
        read_arrays(tmp_path / "x.npz", {"points": "nN3", "names": "n"})


@pytest.mark.parametrize(
    "damage", [lambda data: data[:100], lambda data: data[:-40], lambda data: b"", lambda data: b"hi"]
)
def test_a_broken_file_is_named(tmp_path, damage):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=np.arange(1000))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="x.npz"):
        read_arrays(path, {"a": "n"})
    with pytest.raises(InputError, match="none.npz' does not exist"):
        read_arrays(tmp_path / "none.npz", {"a": "n"})


def test_damaged_content_is_named(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=np.random.default_rng(0).normal(size=1000))
    data = bytearray(path.read_bytes())
    data[2000:2100] = bytes(100)
    path.write_bytes(data)
    with pytest.raises(InputError, match="not a complete .npz"):
        read_arrays(path, {"a": "n"})


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0], [0.0, 1.0], [b"0", b"1"], ["a", "b"]])
def test_labels_without_a_class_are_refused(tmp_path, labels):
    check_classes(tmp_path, 3, labels=np.array([0, 2]))
    with pytest.raises(InputError, match="labels must be whole numbers from 0 to 2"):
        check_classes(tmp_path, 3, labels=np.array(labels))


def test_metrics_are_read_and_half_a_line_at_the_end_is_passed_over(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"split": "train", "epoch": 1, "loss": null}\n\n{"split": "test", "epoch": 1}\n{"split": "tr')
    assert [record["split"] for record in read_metrics(path)] == ["train", "test"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"split": \n{"split": "train", "epoch": 1}\n', "line 1, is not valid JSON"),
        (b"hello\n", "line 1, is not valid JSON"),
        (b'{"epoch": 1}\n', "line 1, is no record"),
        (b'{"split": "train", "epoch": "one"}\n', "line 1, is no record"),
        (b"\xff\xfe\x00", "no text file"),
    ],
)
def test_wrong_metrics_are_refused(tmp_path, content, message):
    (tmp_path / "metrics.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_metrics(tmp_path / "metrics.jsonl")
