"""The sheet of reconstructions."""

import numpy as np
import pytest
import torch

from pointrecon.extensions import ops
from pointrecon.tools.visualize.reconstruction import chamfer_distances, draw_reconstructions, split_patches
from pointrecon.utils.errors import InputError


def test_patches_go_back_to_where_they_were():
    patches = np.arange(4 * 2 * 3, dtype=float).reshape(4, 2, 3)
    centers = 100.0 * np.arange(4)[:, None] * np.ones(3)
    mask = np.array([True, False, False, True])
    rebuilt = np.stack([np.full((2, 3), 0.5), np.full((2, 3), 0.7)])
    visible, made = split_patches(patches, centers, mask, rebuilt)
    assert np.array_equal(visible, np.concatenate([patches[1] + 100, patches[2] + 200]))
    assert np.array_equal(made, np.array([[0.5] * 3] * 2 + [[300.7] * 3] * 2))


def test_the_distances_are_those_that_pretraining_minimises(reconstructions):
    found = chamfer_distances(reconstructions)
    assert found.shape == (3,)
    for index, distance in enumerate(found):
        hidden = reconstructions["patches"][index][reconstructions["mask"][index]]
        rebuilt = torch.from_numpy(reconstructions["rebuilt"][index])
        assert distance == pytest.approx(ops.chamfer_distance(rebuilt, torch.from_numpy(hidden), 2).item(), rel=1e-5)
    assert chamfer_distances(
        {
            **reconstructions,
            "rebuilt": np.stack(
                [
                    patches[mask]
                    for patches, mask in zip(reconstructions["patches"], reconstructions["mask"], strict=True)
                ]
            ),
        }
    ).tolist() == [0, 0, 0]


def test_a_sheet_is_drawn(reconstructions, tmp_path, check_picture):
    np.savez(tmp_path / "reconstructions.npz", **reconstructions)
    draw_reconstructions(tmp_path / "reconstructions.npz", tmp_path / "three.png")
    assert 1400 <= check_picture(tmp_path / "three.png")[0] <= 1800
    np.savez(tmp_path / "reconstructions.npz", **{name: array[:1] for name, array in reconstructions.items()})
    draw_reconstructions(tmp_path / "reconstructions.npz", tmp_path / "one.png")
    check_picture(tmp_path / "one.png")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("rebuilt", lambda array: array[:, :1], "mask hides 2 to 2 patches per shape, but rebuilt has 1"),
        ("mask", lambda array: array.astype(int), "mask must be bool"),
        ("centers", lambda array: array[:, :3], "centers has the shape"),
        ("points", lambda array: array * np.nan, "points holds NaN"),
    ],
)
def test_wrong_arrays_are_refused(reconstructions, tmp_path, name, change, message):
    np.savez(tmp_path / "reconstructions.npz", **(reconstructions | {name: change(reconstructions[name])}))
    with pytest.raises(InputError, match=f"reconstructions.npz': {message}"):
        draw_reconstructions(tmp_path / "reconstructions.npz", tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()
