"""Lists of classes and the features of their texts: what does not fit is named, with its file."""

from pathlib import Path

import numpy as np
import pytest

from pointrecon.datasets.open.class_lists import array_features, dense, dict_features, labels_of, once, records, stack
from pointrecon.datasets.open.clouds import cloud_of, inner_path, read_object
from pointrecon.utils.errors import InputError
from tests.datasets.open.layouts import save_objects

PATH = Path("list.json")


def test_labels_are_places_in_the_list():
    assert labels_of(["b", "a", "b"], ["a", "b"], PATH).tolist() == [1, 0, 1] and once(["a", "b"], PATH) == ["a", "b"]
    for names, message in ((["a"], "has the class 'b', which is not among the 1"), (["a", "b", "a"], "has 'a' twice")):
        with pytest.raises(InputError, match=rf"list\.json' {message}"):
            labels_of(["b"], names, PATH)


def test_names_by_index():
    assert dense({2: "c", 0: "a"}, PATH) == ["a", "class 1 (no object)", "c"]
    for name_of in ({}, {100_001: "a"}):
        with pytest.raises(InputError, match="lists no object, or class indices beyond sense"):
            dense(name_of, PATH)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{}", "is no list of objects"), ("[]", "is no list"), ("[[]]", "object 0 .* lacks 'uid'"), ("[", "not valid")],
)
def test_records_that_are_none(tmp_path, text, message):
    (tmp_path / "list.json").write_text(text)
    with pytest.raises(InputError, match=message):
        records(tmp_path / "list.json", ("uid",))


def test_features_in_an_array(tmp_path):
    path = tmp_path / "features.npy"
    assert array_features(path, 2) is None
    np.save(path, np.eye(2, 3))
    assert array_features(path, 2).tolist() == np.eye(2, 3).tolist()
    for values, message in (
        (np.eye(3), r"of shape \(3, 3\), but the list beside it has 2 classes"),
        (np.ones(2), r"of shape \(2,\)"),
        (np.full((2, 3), np.nan), "not finite or all zero"),
        (np.eye(2, 3) * [[1], [0]], "not finite or all zero"),
    ):
        np.save(path, values)
        with pytest.raises(InputError, match=message):
            array_features(path, 2)
    save_objects(path, {"a": np.ones(3)})
    with pytest.raises(InputError, match="of shape None"):
        array_features(path, 2)


def test_features_by_class(tmp_path):
    path = tmp_path / "features.npy"
    one, other = np.float32([1, 0, 2]), np.float32([[0, 1, 0]])
    save_objects(path, {"b": one, "a": {"open_clip_text_feat": other}})
    stored = dict_features(path)
    assert list(stored) == ["b", "a"] and stack(stored, ["a", "b"], path).tolist() == [[0, 1, 0], [1, 0, 2]]
    with pytest.raises(InputError, match="has no feature for the class 'c'; its classes are others"):
        stack(stored, ["a", "c"], path)
    for content, message in (
        ({}, "is no dict of classes"),
        ([one], "is no dict of classes"),
        ({"a": {"other": one}}, "has no feature for the class 'a'"),
        ({"a": np.zeros((0, 3))}, "has no feature for the class 'a'"),
        ({"a": np.arange(3)}, "has no feature for the class 'a'"),
        ({"a": one, "b": one[:2]}, "features of several widths"),
    ):
        save_objects(path, content)
        with pytest.raises(InputError, match=message):
            dict_features(path)


@pytest.mark.parametrize(
    ("item", "points", "colors"),
    [
        (np.eye(3), np.eye(3), None),
        (np.eye(3).tolist(), np.eye(3), None),
        (np.eye(3, 4), np.eye(3), None),
        (np.c_[np.eye(3), np.full((3, 3), 51)], np.eye(3), np.full((3, 3), 0.2)),
        ({"xyz": np.eye(3), "rgb": np.full((3, 3), 1, np.uint8)}, np.eye(3), np.full((3, 3), 1 / 255)),
        ({"xyz": np.eye(3), "rgb": np.full((3, 3), 0.5)}, np.eye(3), np.full((3, 3), 0.5)),
    ],
)
def test_clouds_in_every_form(item, points, colors):
    found = cloud_of(item, "it")
    np.testing.assert_array_equal(found[0], points)
    if colors is None:
        assert found[1] is None
    else:
        np.testing.assert_allclose(found[1], colors, rtol=1e-6)


@pytest.mark.parametrize("item", [3, None, "a", [[1, 2, 3], [4, 5]], [1, 2, 3], np.zeros(3), np.array([["a"] * 3])])
def test_what_is_no_cloud(item):
    with pytest.raises(InputError, match=r"it has no points 'xyz' \(N, 3\)"):
        cloud_of(item, "it")


def test_paths_of_lists_and_files_without_a_dict(tmp_path):
    assert str(inner_path("/mnt/x/objaverse-processed/merged_for_training_final/ABO/a.npy")) == "ABO/a.npy"
    assert str(inner_path("objaverse-processed\\Objaverse\\a.npy")) == "Objaverse/a.npy"
    np.save(tmp_path / "a.npy", np.eye(3))
    with pytest.raises(InputError, match="holds a ndarray, but an object's file holds a dict"):
        read_object(tmp_path / "a.npy")
