"""What each encoder's input is made of."""

import numpy as np
import pytest

from pointrecon.models.open.recipes import Recipe, fit_colors
from pointrecon.utils.errors import InputError

CLOUD = np.random.RandomState(0).randn(40, 3) * [1, 2, 3] + 5


def test_centre_scale_axes_and_colour():
    made = Recipe().prepare(CLOUD)
    assert made.shape == (40, 6) and made.dtype == np.float32
    np.testing.assert_allclose(made[:, :3].mean(0), 0, atol=1e-6)
    assert np.linalg.norm(made[:, :3], axis=1).max() == pytest.approx(1)
    assert (made[:, 3:] == np.float32(0.4)).all()
    swapped = Recipe(axes="y and z swapped").prepare(CLOUD)
    np.testing.assert_allclose(swapped[:, :3], made[:, [0, 2, 1]], atol=1e-6)


def test_colours_of_either_kind_stay_with_their_points():
    bytes_ = np.random.RandomState(1).randint(0, 256, (40, 3), dtype=np.uint8)
    one, two = Recipe(num_points=16).prepare(CLOUD, bytes_), Recipe(num_points=16).prepare(CLOUD, bytes_ / 255)
    np.testing.assert_allclose(one, two, atol=1e-6)
    whole = Recipe().prepare(CLOUD, bytes_)
    shape = whole[:, :3] - whole[0, :3]
    picked = one[:, :3] - one[0, :3]
    rows = [int(np.flatnonzero((np.abs(whole[:, 3:] - row[3:]) < 1e-6).all(1))[0]) for row in one]
    assert rows == sorted(rows)  # the order of the file
    ratio = np.linalg.norm(picked[1:]) / np.linalg.norm((shape[rows] - shape[rows[0]])[1:])
    np.testing.assert_allclose(picked, (shape[rows] - shape[rows[0]]) * ratio, atol=1e-5)


def test_small_clouds_are_refilled_or_not():
    assert len(Recipe(num_points=100, is_refilled=True).prepare(CLOUD)) == 100
    assert len(Recipe(num_points=100).prepare(CLOUD)) == 40
    assert len(Recipe(num_points=100).prepare(CLOUD, least=64)) == 64
    np.testing.assert_array_equal(
        Recipe(num_points=100, is_refilled=True).prepare(CLOUD),
        Recipe(num_points=100, is_refilled=True).prepare(CLOUD),
    )


def test_a_cloud_without_extent():
    assert not Recipe(has_guard=True).prepare(np.ones((9, 3)))[:, :3].any()
    with pytest.raises(InputError, match="no extent"):
        Recipe().prepare(np.ones((9, 3)))


@pytest.mark.parametrize(
    ("points", "colors", "message"),
    [
        (np.zeros((0, 3)), None, "at least one point"),
        (np.full((4, 3), np.nan), None, "NaN"),
        (CLOUD, np.zeros((39, 3)), "40 points need"),
        (CLOUD, np.full((40, 3), 100.0), "must lie in 0..1"),
        (CLOUD, np.full((40, 3), -1), "must lie in 0..255"),
    ],
)
def test_what_cannot_be_used_is_refused(points, colors, message):
    with pytest.raises(InputError, match=message):
        Recipe().prepare(points, colors)


def test_colours_that_are_not_there_are_filled():
    assert (fit_colors(None, 3, 0.4) == np.float32(0.4)).all()
