"""The drop-in for pointnet2_ops against twins in NumPy that follow the original's rules one point after the other;
test_wheel.py runs this.
"""

import numpy as np
import pytest
import torch
from pointnet2_ops import _ext, pointnet2_utils
from pointnet2_ops.pointnet2_modules import (
    PointnetFPModule,
    PointnetSAModule,
    PointnetSAModuleMSG,
    _PointnetSAModuleBase,
)
from pointnet2_ops.pointnet2_utils import (
    GroupAll,
    QueryAndGroup,
    ball_query,
    furthest_point_sample,
    gather_operation,
    grouping_operation,
    three_interpolate,
    three_nn,
)
from torch.autograd import gradcheck


def random_points(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def naive_fps(cloud, count, skip):
    """Farthest point sampling with the original's skip; ties to the lowest index."""
    usable = [i for i, point in enumerate(cloud) if not skip or (point**2).sum() > 1e-3]
    picked = [0]
    while len(picked) < count:
        nearest = {i: min(((cloud[i] - cloud[j]) ** 2).sum() for j in picked) for i in usable}
        picked.append(max(usable, key=lambda i: (nearest[i], -i)))
    return picked


def naive_ball(radius, count, cloud, centers):
    rows = []
    for center in centers:
        inside = [i for i, point in enumerate(cloud) if ((center - point) ** 2).sum() < radius**2][:count]
        rows.append(inside + [inside[0] if inside else 0] * (count - len(inside)))
    return rows


@pytest.mark.parametrize("skip", [False, True])
def test_sampling_with_and_without_the_skip(monkeypatch, skip):
    monkeypatch.setattr(pointnet2_utils, "SKIP_NEAR_ORIGIN", skip)
    clouds = random_points(3, 30, 3)
    clouds[:, 10:20] = random_points(3, 10, 3, seed=1) / 500  # within 0.03 of the origin
    clouds[1, 0] = 0  # the first point is picked even there
    picked = furthest_point_sample(clouds, 20)
    assert picked.dtype == torch.int32
    assert picked.tolist() == [naive_fps(cloud, 20, skip) for cloud in clouds.numpy()]
    assert bool(((10 <= picked[:, 1:]) & (picked[:, 1:] < 20)).any()) is not skip


def test_picking_keeps_channels_first():
    features, idx = random_points(2, 4, 9), torch.tensor([[3, 0, 3], [8, 1, 2]], dtype=torch.int32)
    picked = gather_operation(features, idx)
    assert picked.shape == (2, 4, 3)
    grouped = grouping_operation(features, idx.view(2, 1, 3).expand(2, 5, 3).contiguous())
    assert grouped.shape == (2, 4, 5, 3)
    for b, c, s in np.ndindex(2, 4, 3):
        assert picked[b, c, s] == features[b, c, idx[b, s]] == grouped[b, c, 4, s]


@pytest.mark.parametrize("radius", [0.3, 0.8, 9.0])
@pytest.mark.parametrize("count", [1, 6, 50])
def test_balls_hold_the_first_points_by_index(monkeypatch, radius, count):
    clouds, centers = random_points(2, 40, 3), random_points(2, 7, 3, seed=1)
    found = ball_query(radius, count, clouds, centers)
    assert found.dtype == torch.int32 and found.shape == (2, 7, count)
    pairs = zip(clouds.numpy(), centers.numpy(), strict=True)
    assert found.tolist() == [naive_ball(radius, count, cloud, asked) for cloud, asked in pairs]
    monkeypatch.setattr(pointnet2_utils.reference, "MAX_SLAB_ELEMENTS", 160)  # two centres at a time
    assert torch.equal(ball_query(radius, count, clouds, centers), found)


def test_a_point_at_the_radius_is_outside():
    assert ball_query(1.0, 2, torch.tensor([[[1.0, 0, 0], [0, 0.5, 0]]]), torch.zeros(1, 1, 3)).tolist() == [[[1, 1]]]


def test_three_neighbours_come_with_distances_not_squares():
    known = torch.tensor([[[3.0, 4, 0], [0, 0, 2], [1, 0, 0], [0, 9, 0]]]).requires_grad_()
    distance, idx = three_nn(torch.zeros(1, 1, 3), known)
    assert distance.tolist() == [[[1, 2, 5]]] and idx.tolist() == [[[2, 1, 0]]]
    assert idx.dtype == torch.int32 and not distance.requires_grad


def test_gradients():
    features = random_points(2, 3, 6, dtype=torch.float64).requires_grad_()
    weight = torch.rand(2, 4, 3, dtype=torch.float64).requires_grad_()
    idx = torch.randint(6, (2, 4, 3), generator=torch.Generator().manual_seed(0)).int()
    assert gradcheck(lambda x: gather_operation(x, idx[..., 0]), features)
    assert gradcheck(lambda x: grouping_operation(x, idx), features)
    assert gradcheck(lambda x, w: three_interpolate(x, idx, w), (features, weight))
    wanted = torch.einsum("bcnk,bnk->bcn", grouping_operation(features, idx), weight)
    torch.testing.assert_close(three_interpolate(features, idx, weight), wanted)


def test_the_compiled_module_gives_values_and_gradients():
    features = random_points(2, 3, 6).requires_grad_()
    weight = torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(0))
    idx = torch.randint(6, (2, 4, 3), generator=torch.Generator().manual_seed(0)).int()
    for plain, gradient, call, rest in (
        (_ext.gather_points, _ext.gather_points_grad, gather_operation, (idx[..., 0],)),
        (_ext.group_points, _ext.group_points_grad, grouping_operation, (idx,)),
        (_ext.three_interpolate, _ext.three_interpolate_grad, three_interpolate, (idx, weight)),
    ):
        out = call(features, *rest)
        assert torch.equal(plain(features, *rest), out) and not plain(features, *rest).requires_grad
        upstream = random_points(*out.shape, seed=3)
        (wanted,) = torch.autograd.grad(out, features, upstream)
        torch.testing.assert_close(gradient(upstream, *rest, 6), wanted)
    clouds, centers = random_points(2, 20, 3), random_points(2, 4, 3, seed=1)
    assert torch.equal(_ext.furthest_point_sampling(clouds, 7), furthest_point_sample(clouds, 7))
    assert torch.equal(_ext.ball_query(centers, clouds, 0.8, 5), ball_query(0.8, 5, clouds, centers))
    squared, index = _ext.three_nn(centers, clouds)
    distance, wanted = three_nn(centers, clouds)
    torch.testing.assert_close(squared.sqrt(), distance)
    assert torch.equal(index, wanted)


def test_the_classes_of_the_originals_functions_apply_them():
    clouds, centers = random_points(2, 20, 3), random_points(2, 4, 3, seed=1)
    picked = pointnet2_utils.FurthestPointSampling.apply(clouds, 6)
    assert torch.equal(picked, furthest_point_sample(clouds, 6))
    found = pointnet2_utils.BallQuery.apply(0.8, 5, clouds, centers)
    grouped = pointnet2_utils.GroupingOperation.apply(clouds.mT.contiguous(), found)
    assert torch.equal(grouped, grouping_operation(clouds.mT, found))
    assert torch.equal(pointnet2_utils.GatherOperation.apply(clouds.mT, picked), gather_operation(clouds.mT, picked))
    distance, index = pointnet2_utils.ThreeNN.apply(centers, clouds)
    weight = 1 / (distance + 1)
    spread = pointnet2_utils.ThreeInterpolate.apply(clouds.mT, index, weight)
    assert torch.equal(spread, three_interpolate(clouds.mT, index, weight))


def test_layers_can_be_derived_from_the_base():
    class Own(_PointnetSAModuleBase):
        def __init__(self):
            super().__init__()
            self.npoint = 5
            self.groupers = torch.nn.ModuleList([QueryAndGroup(0.8, 4)])
            self.mlps = torch.nn.ModuleList([torch.nn.Conv2d(3, 7, 1)])

    centers, features = Own()(random_points(2, 20, 3), None)
    assert centers.shape == (2, 5, 3) and features.shape == (2, 7, 5)
    assert isinstance(PointnetSAModule([3, 4]), _PointnetSAModuleBase)
    with pytest.raises(NotImplementedError, match="has no groupers and mlps"):
        _PointnetSAModuleBase()(random_points(2, 20, 3), None)


def test_groups_are_relative_to_their_centres_with_coordinates_first():
    clouds, features = random_points(2, 20, 3), random_points(2, 5, 20, seed=1)
    centers = clouds[:, :4]
    grouped = QueryAndGroup(0.9, 6)(clouds, centers, features)
    assert grouped.shape == (2, 8, 4, 6)
    idx = ball_query(0.9, 6, clouds, centers).long()
    for b, s, k in np.ndindex(2, 4, 6):
        assert torch.equal(grouped[b, :3, s, k], clouds[b, idx[b, s, k]] - centers[b, s])
        assert torch.equal(grouped[b, 3:, s, k], features[b, :, idx[b, s, k]])
    assert torch.equal(QueryAndGroup(0.9, 6, use_xyz=False)(clouds, centers, features), grouped[:, 3:])
    assert torch.equal(QueryAndGroup(0.9, 6)(clouds, centers), grouped[:, :3])


def test_the_group_of_all_points():
    clouds, features = random_points(2, 20, 3), random_points(2, 5, 20, seed=1)
    both = GroupAll()(clouds, None, features)
    assert torch.equal(both, torch.cat([clouds.transpose(1, 2), features], dim=1).unsqueeze(2))
    assert torch.equal(GroupAll(use_xyz=False)(clouds, None, features), features.unsqueeze(2))


def test_layers_have_the_original_parameter_names_and_shapes():
    widths = [[4, 8, 16], [4, 12]]
    layer = PointnetSAModuleMSG(6, [0.5, 1.0], [4, 8], widths)
    assert widths == [[4, 8, 16], [4, 12]]
    names = [name for name, _ in layer.named_parameters()]
    assert names[:4] == ["mlps.0.0.weight", "mlps.0.1.weight", "mlps.0.1.bias", "mlps.0.3.weight"]
    assert layer.mlps[0][0].weight.shape == (8, 7, 1, 1)
    clouds = random_points(2, 20, 3)
    centers, features = layer(clouds, random_points(2, 4, 20))
    assert torch.equal(centers, clouds.gather(1, furthest_point_sample(clouds, 6).long()[..., None].expand(-1, -1, 3)))
    assert features.shape == (2, 28, 6)
    whole = PointnetSAModule([28, 10])
    assert whole(centers, features)[1].shape == (2, 10, 1)


def test_propagation_gives_known_points_their_own_features():
    layer = PointnetFPModule([2, 2], bn=False)
    layer.mlp[0].weight.data.copy_(torch.eye(2)[..., None, None])
    layer.mlp[0].bias.data.zero_()
    known, features = random_points(1, 8, 3), random_points(1, 2, 8).abs()
    torch.testing.assert_close(layer(known, known, None, features), features, rtol=1e-5, atol=1e-5)
    one = layer(known, None, None, features[..., :1])
    assert torch.equal(one, features[..., :1].expand(-1, -1, 8))
    more = PointnetFPModule([5, 7])(known, known[:, :4], random_points(1, 3, 8), features[..., :4])
    assert more.shape == (1, 7, 8)


CLOUD, IDX = torch.zeros(2, 5, 3), torch.zeros(2, 4, 3, dtype=torch.int32)
MISTAKES = {
    "sample more than there is": (lambda: furthest_point_sample(CLOUD, 6), r"npoint is 6, but xyz has 5 points"),
    "sample channels first": (lambda: furthest_point_sample(CLOUD.mT, 2), r"xyz must have shape .*got \(2, 3, 5\)"),
    "gather with floats": (lambda: gather_operation(CLOUD, torch.zeros(2, 1)), r"idx \(2, 1\) must be int32 or int64"),
    "group with a flat index": (lambda: grouping_operation(CLOUD, IDX[..., 0]), r"idx must .*got \(2, 4\)"),
    "two known points": (lambda: three_nn(CLOUD, CLOUD[:, :2]), r"known needs at least 3 .*\(2, 2, 3\)"),
    "too few weights": (lambda: three_interpolate(CLOUD, IDX, torch.ones(2, 3, 3)), r"weight must .*n = 4, got"),
    "ball of no size": (lambda: ball_query(0.0, 4, CLOUD, CLOUD), "above 0, got 0.0, 4"),
    "ball of another batch": (lambda: ball_query(1.0, 4, CLOUD, CLOUD[:1]), r"new_xyz must .*B = 2, got \(1, 5, 3\)"),
    "nothing to group": (lambda: QueryAndGroup(1.0, 4, use_xyz=False)(CLOUD, CLOUD), "nothing to group"),
    "scales that differ": (lambda: PointnetSAModuleMSG(4, [0.1], [4, 8], [[1, 2]]), "equally long, got 1, 2 and 1"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_refused(mistake):
    call, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message):
        call()
