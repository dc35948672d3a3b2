"""Meshes: checked, joined and moved."""

import pickle

import numpy as np
import pytest

from pointrecon.datasets.meshes.mesh import Mesh, MeshError, merge

POINTS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0.0]])


def test_merge_shifts_faces_and_fills_colours():
    first, second = Mesh(POINTS, [[0, 1, 2]]), Mesh(POINTS + 5, [[2, 1, 0]], [[1, 0, 0]])
    both = merge([first, second])
    assert both.faces.tolist() == [[0, 1, 2], [5, 4, 3]] and both.colors[1].tolist() == [1, 0, 0]
    np.testing.assert_allclose(both.colors[0], 0.7)
    assert merge([first, first]).colors is None and len(merge([]).faces) == 0


def test_reflection_turns_faces_over_and_shift_moves():
    mesh = Mesh(POINTS, [[0, 1, 2]])
    assert mesh.transformed(np.diag([1, 1, -1])).faces.tolist() == [[2, 1, 0]]
    moved = mesh.transformed(np.c_[2 * np.eye(3), [1, 2, 3]])
    np.testing.assert_allclose(moved.vertices, 2 * POINTS + [1, 2, 3])
    assert moved.faces.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("mesh", "cause"),
    [
        (Mesh(POINTS, np.zeros((0, 3))), "no faces"),
        (Mesh(POINTS, [[0, 1, 3]]), "face out of range"),
        (Mesh(POINTS, [[0, 1, -1]]), "face out of range"),
        (Mesh(np.where(POINTS > 0, np.inf, 0), [[0, 1, 2]]), "not finite"),
        (Mesh(POINTS, [[0, 1, 2]], np.ones((2, 3))), "malformed"),
    ],
)
def test_bad_meshes_say_their_cause(mesh, cause):
    with pytest.raises(MeshError, match="'m'") as error:
        mesh.check("m")
    assert error.value.cause == cause
    again = pickle.loads(pickle.dumps(error.value))  # it comes back from a child process
    assert again.cause == cause and str(again) == str(error.value)


def test_colours_that_are_no_numbers_are_grey():
    mesh = Mesh(np.eye(3), [[0, 1, 2]], [[np.nan, np.inf, -1.0]])
    np.testing.assert_allclose(mesh.colors, [[0.7, 1, 0]])
