"""Duplicates: another draw from one surface is found, turned too; other shapes stay; families are thinned evenly."""

import numpy as np
import pytest

from pointrecon.datasets.meshes.duplicates import describe, find_duplicates, limit_families
from pointrecon.datasets.meshes.mesh import merge
from pointrecon.datasets.meshes.sampling import make_cloud

TURN = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], float)


def cloud(mesh, key="key"):
    return make_cloud(mesh, key)[0][:2048]


@pytest.fixture
def shapes(box, chair):
    table = merge([box((0, 0.7, 0), (1.2, 0.75, 0.8)), box((0.55, 0, 0.35), (0.65, 0.7, 0.45))])
    return [chair(), chair(0.6), table, box((0, 0, 0), (1, 2, 0.5))]


def test_finds_copies_turned_and_scaled_and_keeps_other_shapes(shapes):
    given = [cloud(mesh, "a") for mesh in shapes]
    copies = [cloud(mesh.transformed(TURN * 3), "b") for mesh in shapes]
    found = find_duplicates(np.stack(given + copies))
    assert found.tolist() == [-1] * 4 + [0, 1, 2, 3]


def test_given_shapes_stay_and_can_be_all_that_is_looked_for(shapes):
    chair, table = cloud(shapes[0], "a"), cloud(shapes[2], "a")
    points = np.stack([chair, cloud(shapes[3], "b"), cloud(shapes[0], "c"), table, cloud(shapes[2], "d")])
    assert find_duplicates(points, 2).tolist() == [-1, -1, 0, -1, 3]
    twice = np.concatenate([points[:1], points])
    assert find_duplicates(twice, 2).tolist()[:2] == [-1, -1], "given ones are not compared with each other"
    assert find_duplicates(points, 2, only_given=True).tolist() == [-1, -1, 0, -1, -1]


def test_what_repeats_a_dropped_shape_is_held_against_the_kept_one(shapes):
    points = np.stack([cloud(shapes[3], key) for key in "abcd"])
    assert find_duplicates(points).tolist() == [-1, 0, 0, 0]


def test_a_description_does_not_depend_on_the_position_and_tells_shapes_apart(shapes):
    chair, copy, other = describe(
        np.stack([cloud(shapes[0], "a"), cloud(shapes[0].transformed(TURN), "b"), cloud(shapes[1], "a")])
    )
    assert np.abs(chair - copy).max() < 0.02 < 0.06 < np.abs(chair - other).max()


def test_families_are_thinned_evenly_in_the_order_of_their_numbers():
    names = [f"pins_{number}" for number in range(1, 41)] + ["lamp"]
    families = ["pins"] * 40 + ["lamp"]
    kept = limit_families(families, names, range(41), 4)
    assert [names[row] for row in kept] == ["pins_1", "pins_14", "pins_27", "pins_40", "lamp"]
    assert limit_families(families, names, [0, 1, 40], 4) == [0, 1, 40]
    assert limit_families(families, names[::-1][1:] + ["lamp"], range(41), 1) == [39, 40]
