"""Every operation of every backend on every device against its definition, formed in double precision.

In Triton's interpreter (TRITON_INTERPRET=1) the kernels run on the CPU; test_triton.py does that.
"""

import os

import pytest
import torch

from pointrecon.extensions import dispatch, ops

IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
WITHIN = {"rtol": 1e-5, "atol": 1e-10}
ON_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]
PLACES = [
    *(("cpu", name) for name in (("triton",) if IS_INTERPRETED else ("compiled", "reference"))),
    *(pytest.param(("cuda", name), marks=ON_GPU) for name in ("triton", "external", "reference")),
]


@pytest.fixture(params=PLACES, ids=lambda place: "-".join(place))
def device(request):
    """A device, with a backend forced on it."""
    device, backend = request.param
    if reason := dispatch.why_unavailable(backend, device):
        pytest.skip(f"{backend}: {reason}")
    dispatch.use_backend(backend)
    yield device
    dispatch.use_backend(None)


@pytest.fixture
def cloud(cloud):
    """(B, N, 3); the interpreter, which takes milliseconds a query, has a part of it."""
    return cloud[:2, :40] if IS_INTERPRETED else cloud


def squared_distances(a, b):
    """(B, N, 3), (B, M, 3) -> (B, N, M) in double precision."""
    return (a.double().unsqueeze(2) - b.double().unsqueeze(1)).square().sum(-1)


def split(cloud):
    """Queries between points, and small enough numbers for the interpreter."""
    return cloud[:, ::5][:, : 2 if IS_INTERPRETED else 6] * 0.75, min(7, cloud.shape[1])


def test_each_sample_is_the_farthest_from_those_before(cloud, device):
    num_samples = min(9, cloud.shape[1])
    picked = ops.fps(cloud.to(device), num_samples).cpu()
    assert (picked[:, 0] == 0).all()
    for sample, order in zip(squared_distances(cloud, cloud), picked, strict=True):
        for step in range(1, num_samples):
            gaps = sample[:, order[:step]].amin(dim=1)
            assert gaps[order[step]] >= gaps.max() * (1 - 1e-5)


def test_neighbours_are_the_nearest(cloud, device):
    queries, k = split(cloud)
    index = ops.knn(cloud.to(device), queries.to(device), k).cpu()
    assert all(len(set(row)) == k for row in index.flatten(0, 1).tolist())
    squared = squared_distances(queries, cloud)
    torch.testing.assert_close(squared.gather(-1, index), squared.sort(dim=-1).values[..., :k], **WITHIN)


def test_patches_are_around_their_centres(cloud, device):
    num_groups, group_size = min(2 if IS_INTERPRETED else 4, cloud.shape[1]), split(cloud)[1]
    centers, patches, index = (x.cpu() for x in ops.patchify(cloud.to(device), num_groups, group_size))
    squared = squared_distances(centers, cloud)
    assert (squared.amin(dim=-1) == 0).all()
    torch.testing.assert_close(squared.gather(-1, index), squared.sort(dim=-1).values[..., :group_size], **WITHIN)
    rows = torch.arange(len(cloud)).view(-1, 1, 1)
    torch.testing.assert_close(patches.double(), cloud.double()[rows, index] - centers.double().unsqueeze(2), **WITHIN)


def test_three_nearest_and_their_gradient(cloud, device):
    cloud = cloud.repeat(1, 3 // cloud.shape[1] + 1, 1)  # at least three
    queries = split(cloud)[0]
    one, two = queries.to(device).requires_grad_(), cloud.to(device).requires_grad_()
    squared, index = ops.three_nn(one, two)
    wanted_queries, wanted_points = queries.double().requires_grad_(), cloud.double().requires_grad_()
    rows = torch.arange(len(cloud)).view(-1, 1, 1)
    wanted = (wanted_queries.unsqueeze(2) - wanted_points[rows, index.cpu()]).square().sum(-1)
    torch.testing.assert_close(squared.detach().cpu().double(), wanted.detach(), **WITHIN)
    nearest = squared_distances(queries, cloud).sort(dim=-1).values[..., :3]
    torch.testing.assert_close(wanted.detach(), nearest, **WITHIN)
    assert_gradients(squared.sum(), (one, two), wanted.sum(), (wanted_queries, wanted_points))


@pytest.mark.parametrize("norm", [1, 2])
def test_chamfer_and_its_gradient(norm, cloud, device):
    others = split(cloud)[0]
    one, two = cloud.to(device).requires_grad_(), others.to(device).requires_grad_()
    wanted_one, wanted_two = cloud.double().requires_grad_(), others.double().requires_grad_()
    squared = squared_distances(wanted_one, wanted_two)
    nearest = squared.gather(2, squared.argmin(dim=2, keepdim=True)), squared.gather(1, squared.argmin(dim=1)[:, None])
    if norm == 1:  # the root has no gradient at 0, where the operation has 0
        nearest = [torch.where(part > 0, part, 1).sqrt() * (part > 0) for part in nearest]
    wanted = sum(part.mean() for part in nearest) / (2 if norm == 1 else 1)
    distance = ops.chamfer_distance(one, two, norm)
    torch.testing.assert_close(distance.detach().cpu().double(), wanted.detach(), **WITHIN)
    if len(cloud.flatten(0, 1).unique(dim=0)) < cloud.shape[0] * cloud.shape[1]:
        return  # among duplicates the definition does not say which one is pulled
    assert_gradients(distance, (one, two), wanted, (wanted_one, wanted_two))


def test_rows_are_picked_and_weighed(device):
    draw = torch.Generator().manual_seed(0)
    features, weight = torch.randn(2, 9, 5, generator=draw), torch.rand(2, 4, 3, generator=draw)
    index = torch.randint(0, 9, (2, 4, 3), generator=draw)
    rows = torch.arange(2).view(2, 1, 1)
    for kind in (torch.int64, torch.int32):
        on_device = index.to(device, kind)
        x, w = features.to(device).requires_grad_(), weight.to(device).requires_grad_()
        y, v = features.double().requires_grad_(), weight.double().requires_grad_()
        for ours, wanted in (
            (ops.gather(x, on_device[..., 0]), y[rows[..., 0], index[..., 0]]),
            (ops.group(x, on_device), y[rows, index]),
            (ops.three_interpolate(x, on_device, w), (y[rows, index] * v.unsqueeze(-1)).sum(dim=2)),
        ):
            torch.testing.assert_close(ours.detach().cpu().double(), wanted.detach(), rtol=1e-5, atol=1e-6)
            assert_gradients(ours.square().sum(), (x, w), wanted.square().sum(), (y, v), atol=1e-5)


def assert_gradients(loss, leaves, wanted_loss, wanted_leaves, atol=1e-9):
    """Both sides' gradients agree; a leaf that a loss does not read has none."""
    ours = torch.autograd.grad(loss, leaves, allow_unused=True)
    wanted = torch.autograd.grad(wanted_loss, wanted_leaves, allow_unused=True)
    for one, two in zip(ours, wanted, strict=True):
        assert (one is None) == (two is None)
        if one is not None:
            scale = two.abs().max().item()
            torch.testing.assert_close(one.cpu().double(), two, rtol=1e-4, atol=max(atol, 1e-6 * scale))
