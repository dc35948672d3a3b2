"""Embeddings in two dimensions."""

import csv

import numpy as np
import pytest

from pointrecon.tools.visualize import style
from pointrecon.tools.visualize.tsne import choose_looks, draw_embeddings, embed_2d, find_medoid, place_names
from pointrecon.utils.errors import InputError


def test_classes_stay_together_and_a_second_call_gives_the_same(embeddings):
    data = np.load(embeddings)
    points = embed_2d(data["embeddings"])
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1) + 1e9 * np.eye(30)
    assert (data["labels"][distances.argmin(axis=1)] == data["labels"]).mean() > 0.9
    assert np.ptp(points[:, 0]) > np.ptp(points[:, 1])
    assert np.array_equal(embed_2d(data["embeddings"]), points)


def test_the_medoid_lies_among_the_points():
    points = np.array([[0.0, 0], [1, 0], [0.9, 0.2], [1, 1], [50, 50]])
    assert find_medoid(points).tolist() in ([1, 0], [0.9, 0.2], [1, 1])


def test_names_cover_neither_each_other_nor_points():
    anchors = np.array([[200.0, 200.0]] * 4)
    sizes = np.full((4, 2), (60.0, 16.0))
    points = np.random.default_rng(0).normal(200, 5, (30, 2))
    places = place_names(anchors, sizes, points, np.zeros(2), np.full(2, 400.0))
    for index, place in enumerate(places):
        others = np.abs(np.delete(places, index, axis=0) - place)
        assert not (others < sizes[0]).all(axis=1).any()
        assert not (np.abs(points - place) < sizes[0] / 2).all(axis=1).any()


def test_names_stay_inside_the_picture():
    places = place_names(
        np.array([[2.0, 399.0]]), np.array([[60.0, 16.0]]), np.zeros((1, 2)), np.zeros(2), np.full(2, 400.0)
    )
    assert places[0] == pytest.approx([30, 392])


def test_neighbours_look_different():
    anchors = np.stack(np.meshgrid(np.arange(8.0), np.arange(5.0)), axis=-1).reshape(-1, 2)
    looks = choose_looks(anchors)
    assert len(set(looks)) == 40
    apart = np.linalg.norm(anchors[:, None] - anchors[None], axis=-1)
    for one, other in zip(*np.nonzero(apart == 1), strict=True):
        assert looks[one][0] != looks[other][0], "neighbours on the grid share a hue"
    many = choose_looks(np.random.default_rng(0).normal(size=(120, 2)))
    assert len(set(many[:56])) == 56 == len(style.HUES) * len(style.MARKERS)


# Machado et al. (2009), severity 1, on linear RGB.
BLINDNESS = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.mark.parametrize("matrix", BLINDNESS.values(), ids=BLINDNESS.keys())
def test_hues_differ_for_colour_blind_readers(matrix):
    colors = np.array([[int(hue[i : i + 2], 16) / 255 for i in (1, 3, 5)] for hue in style.HUES])
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(matrix).T, 0, 1)
    lab = to_lab(seen)
    differences = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 1e3 * np.eye(len(lab))
    assert differences.min() > 12  # a just noticeable difference is 2.3


def to_lab(linear):
    """Linear RGB (n, 3) -> CIELAB."""
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = (linear @ np.array(matrix).T / (0.9505, 1.0, 1.089)).T
    f, g, h = (np.where(c > 0.008856, np.cbrt(c), 7.787 * c + 16 / 116) for c in (x, y, z))
    return np.stack([116 * g - 16, 500 * (f - g), 200 * (g - h)], axis=1)


def test_a_picture_is_drawn_and_its_coordinates_are_kept(embeddings, tmp_path, check_picture):
    assert draw_embeddings(embeddings, tmp_path / "tsne.png") == [tmp_path / "tsne.png"]
    assert check_picture(tmp_path / "tsne.png") == (1650, 1200)
    with (tmp_path / "tsne.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [str(number) for number in range(30)]
    assert [row["class"] for row in rows[:4]] == ["a", "b", "c", "a"] and rows[29]["split"] == "test"
    points = embed_2d(np.load(embeddings)["embeddings"])
    assert np.array([[row["x"], row["y"]] for row in rows], dtype=float) == pytest.approx(points, rel=1e-5)


def test_too_few_objects_are_refused(tmp_path):
    path = tmp_path / "embeddings.npz"
    np.savez(path, ids=list("xyz"), labels=[0, 1, 0], embeddings=np.eye(3), class_names=["a", "b"], split=["train"] * 3)
    with pytest.raises(InputError, match="embeddings.npz' holds 3 embeddings of width 3; t-SNE needs at least 4"):
        draw_embeddings(path, tmp_path / "x.png")


@pytest.mark.parametrize("value", [0, 0.1, 1e300])
def test_embeddings_that_are_all_equal_lie_at_one_point(value, tmp_path, check_picture):
    rows = np.full((12, 4), value)
    np.testing.assert_array_equal(embed_2d(rows), np.zeros((12, 2)))
    path = tmp_path / "embeddings.npz"
    names = {"ids": np.arange(12).astype(str), "labels": np.arange(12) % 2, "class_names": ["a", "b"]}
    np.savez(path, embeddings=rows, split=["test"] * 12, **names)
    draw_embeddings(path, tmp_path / "tsne.png")
    check_picture(tmp_path / "tsne.png")


def test_the_scale_of_embeddings_is_not_seen():
    rows = np.random.RandomState(0).randn(20, 3)
    expected = embed_2d(rows)
    for scale in (1e-200, 1e200):
        found = embed_2d(rows * scale)
        assert np.isfinite(found).all()
        nearest = [np.linalg.norm(points[:, None] - points, axis=-1).argsort(1)[:, 1] for points in (expected, found)]
        assert (nearest[0] == nearest[1]).mean() > 0.8
