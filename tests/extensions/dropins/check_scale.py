"""The drop-ins on clouds whose squared distances are no float32; test_wheel.py runs this with the wheel installed."""

import pytest
import torch
from chamfer_dist import ChamferDistanceL1, ChamferDistanceL1_PM
from knn_cuda import KNN
from pointnet2_ops.pointnet2_utils import ball_query, furthest_point_sample, three_nn
from recon_point_ops import dispatch

SCALES = [2.0**-83, 2.0**66]


@pytest.fixture(params=["compiled", "reference"], autouse=True)
def backend(request):
    if reason := dispatch.why_unavailable(request.param, "cpu"):
        pytest.skip(reason)
    dispatch.use_backend(request.param)
    yield
    dispatch.use_backend(None)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("width", [3, 5, 40])
def test_neighbors_and_their_distances(width, scale):
    ref, query, find = random(2, 50, width), random(2, 6, width, seed=1), KNN(4, transpose_mode=True)
    (distance, index), (wanted, wanted_index) = find(ref * scale, query * scale), find(ref, query)
    assert torch.equal(index, wanted_index)
    torch.testing.assert_close(distance / scale, wanted, rtol=1e-6, atol=0)


@pytest.mark.parametrize("scale", SCALES)
def test_samples_balls_and_three_neighbors(scale):
    cloud, centers = random(2, 50, 3), random(2, 6, 3, seed=1)
    assert torch.equal(furthest_point_sample(cloud * scale, 9), furthest_point_sample(cloud, 9))
    balls = ball_query(1.0, 8, cloud, centers)
    assert torch.equal(ball_query(scale, 8, cloud * scale, centers * scale), balls) and balls.unique().numel() > 9
    (distance, index), (wanted, wanted_index) = three_nn(centers * scale, cloud * scale), three_nn(centers, cloud)
    assert torch.equal(index, wanted_index)
    torch.testing.assert_close(distance / scale, wanted, rtol=1e-6, atol=0)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("loss", [ChamferDistanceL1, ChamferDistanceL1_PM])
def test_losses_and_their_gradients(loss, scale):
    pairs = [[(random(2, 9 - i, 3, seed=i) * size).requires_grad_() for i in range(2)] for size in (scale, 1.0)]
    values = [loss()(*pair) for pair in pairs]
    torch.testing.assert_close(values[0] / scale, values[1], rtol=1e-6, atol=0)
    grads = [torch.autograd.grad(value, pair) for value, pair in zip(values, pairs, strict=True)]
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-7)
