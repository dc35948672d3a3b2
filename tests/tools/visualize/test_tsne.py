"""Embeddings in two dimensions."""

import numpy as np
import pytest

from pointrecon.tools.visualize.tsne import draw_embeddings, embed_2d, find_medoid, place_names
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


def test_a_picture_is_drawn(embeddings, tmp_path, check_picture):
    assert draw_embeddings(embeddings, tmp_path / "tsne.png") == [tmp_path / "tsne.png"]
    assert check_picture(tmp_path / "tsne.png") == (1650, 1200)


def test_too_few_objects_are_refused(tmp_path):
    path = tmp_path / "embeddings.npz"
    np.savez(path, labels=[0, 1, 0], embeddings=np.eye(3), class_names=["a", "b"], split=["train"] * 3)
    with pytest.raises(InputError, match="embeddings.npz' holds 3 embeddings of width 3; t-SNE needs at least 4"):
        draw_embeddings(path, tmp_path / "x.png")
