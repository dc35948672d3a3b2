"""Sampling, the unit sphere and augmentation, each against what it says."""

import pytest
import torch

from pointrecon.datasets.transforms import PointTransform, augment, join_colors, normalize_unit_sphere, sample
from pointrecon.utils.errors import InputError

OFF = {
    "rotate_y": 0.0,
    "tilt": 0.0,
    "scale": [1.0, 1.0],
    "scale_isotropic": False,
    "shift": 0.0,
    "jitter": 0.0,
    "flip_x": 0.0,
    "dropout": 0.0,
    "color_drop": 0.0,
    "up": "y",
}


@pytest.fixture
def points():
    return torch.randn(6, 40, 3, generator=torch.Generator().manual_seed(0))


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def test_sampling(points):
    assert torch.equal(sample(points, 10, "first"), points[:, :10])
    picked = sample(points, 10, "random", draw())
    for cloud, stored in zip(picked, points, strict=True):
        rows = [(stored == point).all(dim=1).nonzero().item() for point in cloud]
        assert len(set(rows)) == 10  # without replacement
    assert not torch.equal(picked, sample(points, 10, "random", draw(1)))
    assert torch.equal(picked, sample(points, 10, "random", draw()))
    spread = torch.cdist(sample(points, 10, "fps"), points).min(dim=1).values.max()
    assert spread < torch.cdist(points[:, :10], points).min(dim=1).values.max()


def test_unit_sphere(points):
    normal = normalize_unit_sphere(points * 7 + 3)
    torch.testing.assert_close(normal.mean(dim=1), torch.zeros(6, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(normal.norm(dim=-1).amax(dim=1), torch.ones(6))
    assert normalize_unit_sphere(torch.ones(1, 5, 3)).isfinite().all()  # all points in one place


def test_off_changes_nothing(points):
    assert torch.equal(augment(points, OFF, draw()), points)


def test_rotation_is_about_y_and_within_its_range(points):
    turned = augment(points, {**OFF, "rotate_y": 30.0}, draw())
    torch.testing.assert_close(turned[..., 1], points[..., 1])
    torch.testing.assert_close(turned.norm(dim=-1), points.norm(dim=-1))
    flat, flat_turned = points[..., [0, 2]], turned[..., [0, 2]]
    cosine = torch.nn.functional.cosine_similarity(flat, flat_turned, dim=-1)
    assert cosine.min() > 0.866 - 1e-3
    assert cosine.std(dim=1).max() < 1e-3 and cosine.mean(dim=1).std() > 0  # one angle a cloud, another for each


def test_mirror_scale_shift_jitter(points):
    mirrored = augment(points, {**OFF, "flip_x": 1.0}, draw())
    assert torch.equal(mirrored, points * torch.tensor([-1.0, 1.0, 1.0]))
    factor = augment(points, {**OFF, "scale": [0.5, 2.0]}, draw()) / points
    assert factor.min() >= 0.5 and factor.max() <= 2.0
    assert factor.std(dim=1).max() < 1e-3 and factor[:, 0].std(dim=1).min() > 1e-3  # an axis a factor
    same = augment(points, {**OFF, "scale": [0.5, 2.0], "scale_isotropic": True}, draw()) / points
    assert same.flatten(1).std(dim=1).max() < 1e-3
    moved = augment(points, {**OFF, "shift": 0.2}, draw()) - points
    assert moved.abs().max() <= 0.2 and moved.std(dim=1).max() < 1e-6
    noise = augment(points, {**OFF, "jitter": 0.1}, draw()) - points
    assert noise.std().item() == pytest.approx(0.1, rel=0.15)


def test_tilts_are_small_turns_about_every_axis(points):
    tilted = augment(points, {**OFF, "tilt": 3.44}, draw())
    torch.testing.assert_close(tilted @ tilted.mT, points @ points.mT, atol=1e-4, rtol=0)
    many = torch.eye(3).repeat(2000, 1, 1)
    turned = augment(many, {**OFF, "tilt": 3.44}, draw())
    assert torch.linalg.det(turned).min() > 0.99  # no mirror images
    for row, axis in ((1, 2), (2, 0), (0, 1)):
        angle = turned[:, row, axis].asin()
        assert angle.std().item() == pytest.approx(0.06, rel=0.1) and angle.abs().max() < 0.2
    steep = augment(many, {**OFF, "tilt": 60.0}, draw())
    assert torch.isfinite(steep).all() and (steep - turned).abs().max() > 0.5


def test_the_published_turn_comes_last(points):
    changes = {**OFF, "rotate_y": 180.0, "shift": 0.1}
    plain, turned = (augment(points, {**changes, "up": up}, draw()) for up in ("y", "-x"))
    assert torch.equal(turned, torch.stack([-plain[..., 1], plain[..., 0], plain[..., 2]], dim=-1))


@pytest.mark.parametrize("sampling", ["first", "random", "fps"])
def test_colours_stay_with_their_points(points, sampling):
    colors = torch.rand(6, 40, 3, generator=draw(5))
    clouds = torch.cat([points, colors], dim=-1)
    changes = {**OFF, "rotate_y": 180.0, "scale": [0.5, 2.0], "shift": 0.3, "jitter": 0.1, "tilt": 3.0, "flip_x": 0.5}
    for augmented in (None, changes):
        made = PointTransform(10, sampling, augment=augmented)(clouds, draw())
        plain = PointTransform(10, sampling, augment=augmented)(points, draw())
        assert torch.equal(made[..., :3], plain)
        chosen = sample(torch.cat([points, colors], dim=-1), 10, sampling, draw())
        assert torch.equal(made[..., 3:], chosen[..., 3:])
        rows = (clouds[..., :3] == chosen[:, :1, :3]).all(dim=-1).nonzero()[:, 1]
        assert torch.equal(chosen[:, 0, 3:], colors[torch.arange(6), rows])


def test_colours_are_dropped_cloud_by_cloud():
    clouds = torch.rand(400, 12, 6, generator=draw())
    transform = PointTransform(12, "first", augment={**OFF, "color_drop": 0.5}, color_fill=0.6)
    colors = transform(clouds, draw())[..., 3:]
    is_grey = (colors == 0.6).flatten(1).all(dim=1)
    assert is_grey.float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert torch.equal(colors[~is_grey], clouds[~is_grey][..., 3:])


def test_colours_of_a_batch_are_joined_to_its_points():
    points, levels = torch.rand(2, 5, 3), torch.randint(0, 256, (2, 5, 3), dtype=torch.uint8)
    batch = {"points": points.half(), "colors": levels}
    joined = join_colors(batch, "cpu", is_colored=True)
    assert joined.dtype == torch.float32 and torch.equal(joined[..., :3], points.half().float())
    assert torch.equal(joined[..., 3:], levels.float() / 255)
    assert torch.equal(join_colors(batch | {"colors": levels / 255}, "cpu", is_colored=True), joined)
    assert join_colors(batch, "cpu", is_colored=False).shape == (2, 5, 3)
    assert join_colors({"points": points}, "cpu", is_colored=True).shape == (2, 5, 3)


def test_dropped_points_stand_on_the_first_one(points):
    dropped = augment(points, {**OFF, "dropout": 0.9}, draw())
    on_first = (dropped == points[:, :1]).all(dim=-1)
    assert torch.equal(dropped[~on_first], points[~on_first]) and on_first.sum() > 6


def test_transform_samples_normalises_then_augments(points):
    transform = PointTransform(16, "random", True, {**OFF, "shift": 0.5})
    result = transform(points, draw())
    assert result.shape == (6, 16, 3) and result.mean(dim=1).abs().max() > 0.05
    assert torch.equal(transform(points, draw()), result)
    still = PointTransform(16, "first")
    assert torch.equal(still(points), still(points))


def test_user_mistakes(points):
    with pytest.raises(InputError, match="41.*40 points"):
        PointTransform(41)(points)
    with pytest.raises(InputError, match="fsp.*fps"):
        PointTransform(16, "fsp")


def test_training_draws_from_a_pool_of_farthest_points(points):
    farthest = sample(points, 20, "fps")
    for transform, pool in (
        (PointTransform(10, normalize=False, pool=20), farthest),
        (PointTransform(10, normalize=False, pool=20, is_fps_ordered=True), points[:, :20]),
    ):
        picked = transform(points, draw())
        assert picked.shape == (6, 10, 3)
        assert all((pool[0] == point).all(dim=1).any() for point in picked[0])
        assert not torch.equal(picked, transform(points, draw(1)))
    # A pool that is larger than what is stored is all of it.
    assert PointTransform(10, normalize=False, pool=99)(points, draw()).shape == (6, 10, 3)
    with pytest.raises(InputError, match="sample_pool is 5.*num_points=10"):
        PointTransform(10, pool=5)


def test_points_in_fps_order_need_no_sampling(points):
    picked = PointTransform(10, "fps", normalize=False, is_fps_ordered=True)(points)
    assert torch.equal(picked, points[:, :10])


@pytest.mark.parametrize("normalize", [False, True])
def test_under_autocast_coordinates_keep_their_digits(points, normalize):
    options = OFF | {
        "rotate_y": 180.0,
        "flip_x": 0.5,
        "scale": [0.7, 1.3],
        "shift": 0.2,
        "jitter": 0.01,
        "dropout": 0.5,
    }
    transform = PointTransform(20, normalize=normalize, augment=options)
    wanted = transform(points, draw())
    with torch.autocast("cpu", torch.bfloat16):
        found = transform(points, draw())
    assert found.dtype == torch.float32 and torch.equal(found, wanted)
