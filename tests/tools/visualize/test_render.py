"""The projector and the balls."""

import numpy as np
import pytest

from pointrecon.tools.visualize.render import project, render


def test_seen_from_the_front_x_is_right_and_y_is_up():
    points = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert project(points, azimuth=0, elevation=0) == pytest.approx(np.eye(3))


def test_seen_from_the_right_and_from_above():
    front = np.array([[0.0, 0.0, 1.0]])
    assert project(front, azimuth=90, elevation=0) == pytest.approx(np.array([[-1.0, 0, 0]]))
    assert project(front, azimuth=0, elevation=90) == pytest.approx(np.array([[0, -1.0, 0]]))


def test_projection_is_a_rotation():
    axes = project(np.eye(3), azimuth=33, elevation=21)
    assert axes.T @ axes == pytest.approx(np.eye(3)) and np.linalg.det(axes) == pytest.approx(1)


def draw(points, colors, **options):
    options = {"frame": (0.0, 0.0, 2.0), "floor": -0.9, "side": 100, "radius": 0.1} | options
    return render(np.array(points, dtype=float), np.array(colors, dtype=float), **options)


def test_a_ball_is_where_it_belongs_and_the_rest_is_clear():
    point = np.linalg.inv(project(np.eye(3)))[0] * 0.5  # half a unit to the right on the screen
    image = draw([point], [[1, 0, 0]])
    rows, columns = np.nonzero(image[..., 3] == 1)
    assert rows.mean() == pytest.approx(49.5, abs=1) and columns.mean() == pytest.approx(74.5, abs=1)
    assert len(rows) == pytest.approx(np.pi * 5**2, rel=0.15)
    assert image[5, 5, 3] == 0
    assert image[49, 74, 0] > 0.5 > image[49, 74, 1]


def test_the_nearer_ball_hides_the_other_whatever_the_order():
    towards = np.linalg.inv(project(np.eye(3)))[2]
    for order in (1, -1):
        image = draw([0.5 * towards, -0.5 * towards][::order], [[0, 0, 1], [1, 0, 0]][::order])
        assert image[50, 50, 2] > 0.5 > image[50, 50, 0]


def test_there_is_a_shadow_below():
    image = draw([[0, 0.5, 0]], [[1, 1, 1]])
    row, column = np.unravel_index(np.where(image[..., 3] < 1, image[..., 3], 0).argmax(), (100, 100))
    _, up, _ = project(np.array([[0, -0.9, 0.0]]))[0]
    assert 0.02 < image[row, column, 3] < 0.3
    assert row == pytest.approx(50 - up * 50, abs=3) and column == pytest.approx(50, abs=3)


def test_balls_outside_the_frame_and_values_stay_in_range():
    random = np.random.default_rng(0)
    image = draw(random.normal(0, 3, (200, 3)), random.random((200, 3)))
    assert image.min() >= 0 and image.max() <= 1 and np.isfinite(image).all()
