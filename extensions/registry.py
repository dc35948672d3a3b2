"""The operations registered with torch, as `torch.ops.point_ops.*`: `torch.compile` keeps them whole, without a break.

Each has a kernel that calls the backend of its device and a fake kernel that knows the shapes; those with a gradient
have that too. Coordinates are floating point; the kernels make them contiguous.

Shape legend: B batch, N points, M other points, Q queries, G samples, K neighbours.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from . import reference
from .checks import check_finite
from .dispatch import select_backend

# A second copy of this package in one process (installed, and as a folder) registers under its own name.
NAMESPACE = "point_ops" if not hasattr(torch.ops.point_ops, "fps") else __name__.replace(".", "_")
_LIBRARY = torch.library.Library(NAMESPACE, "DEF")


def _run(operation: str, **clouds: Tensor) -> tuple[Callable, list[Tensor]]:
    """The function of the backend, and its clouds checked and contiguous. Double precision has the reference alone."""
    for name, cloud in clouds.items():
        check_finite(name, cloud)
    first = next(iter(clouds.values()))
    backend = select_backend(first, operation) if first.dtype == torch.float32 else reference
    return getattr(backend, operation), [cloud.contiguous() for cloud in clouds.values()]


def run_fps(points, num_samples):
    """The operation itself, checked, without torch's dispatcher; see `ops.fps`."""
    function, clouds = _run("fps", points=points)
    return function(*clouds, num_samples)


def run_knn(points, queries, k):
    """The same for `ops.knn`."""
    function, clouds = _run("knn", points=points, queries=queries)
    return function(*clouds, k)


def run_patchify(points, num_groups, group_size):
    """The same for `ops.patchify`."""
    function, clouds = _run("patchify", points=points)
    return function(*clouds, num_groups, group_size)


def _three_nn(queries, points):
    function, clouds = _run("three_nn", queries=queries, points=points)
    return function(*clouds)


def _nearest(a, b, check_a=False, check_b=False):
    for name, cloud, is_checked in (("a", a, check_a), ("b", b, check_b)):
        if is_checked:
            check_finite(name, cloud)
    a, b = a.contiguous(), b.contiguous()
    backend = select_backend(a, "nearest") if a.dtype == torch.float32 else reference
    return backend.nearest(a, b)


def _pairs(a, b, norm, check_a=False, check_b=False):
    for name, cloud, is_checked in (("a", a, check_a), ("b", b, check_b)):
        if is_checked:
            check_finite(name, cloud)
    return select_backend(a, "pairs_forward").pairs_forward(a.contiguous(), b.contiguous(), norm)


def _pairs_backward(a, b, nearest_b, nearest_a, grad, norm):
    clouds = a.contiguous(), b.contiguous()
    return select_backend(a, "pairs_backward").pairs_backward(*clouds, nearest_b, nearest_a, grad, norm)


def _pool_max(x):
    is_kernel = x.dtype in (torch.float32, torch.bfloat16, torch.float16)
    backend = select_backend(x, "pool_max") if is_kernel else reference
    return backend.pool_max(x.contiguous())


def _fake_pool_max(x):
    values = x.new_empty(x.shape[0], x.shape[2])
    return values, torch.empty_like(values, dtype=torch.uint8)


def _fake_pairs(a, b, norm, check_a=False, check_b=False):
    return a.new_empty(()), *(cloud.new_empty(cloud.shape[:2], dtype=torch.int8) for cloud in (a, b))


def _fake_pairs_backward(a, b, nearest_b, nearest_a, grad, norm):
    return a.new_empty(a.shape), b.new_empty(b.shape)


def _index(like: Tensor, *shape) -> Tensor:
    return like.new_empty(shape, dtype=torch.int64)


def _fake_patchify(points, num_groups, group_size):
    shape = (points.shape[0], num_groups, group_size)
    return points.new_empty(*shape[:2], 3), points.new_empty(*shape, 3), _index(points, *shape)


def _fake_three_nn(queries, points):
    return queries.new_empty(queries.shape), _index(queries, *queries.shape)


def _fake_nearest(a, b, check_a=False, check_b=False):
    return a.new_empty(a.shape[:2]), _index(a, *a.shape[:2])


# Name -> arguments and results, kernel, fake kernel.
_OPERATIONS = {
    "fps": (
        "(Tensor points, SymInt num_samples) -> Tensor",
        run_fps,
        lambda points, num_samples: _index(points, points.shape[0], num_samples),
    ),
    "knn": (
        "(Tensor points, Tensor queries, SymInt k) -> Tensor",
        run_knn,
        lambda points, queries, k: _index(points, *queries.shape[:2], k),
    ),
    "patchify": (
        "(Tensor points, SymInt num_groups, SymInt group_size) -> (Tensor, Tensor, Tensor)",
        run_patchify,
        _fake_patchify,
    ),
    "three_nn": ("(Tensor queries, Tensor points) -> (Tensor, Tensor)", _three_nn, _fake_three_nn),
    "nearest": (
        "(Tensor a, Tensor b, bool check_a=False, bool check_b=False) -> (Tensor, Tensor)",
        _nearest,
        _fake_nearest,
    ),
    "pairs": (
        "(Tensor a, Tensor b, int norm, bool check_a=False, bool check_b=False) -> (Tensor, Tensor, Tensor)",
        _pairs,
        _fake_pairs,
    ),
    "pairs_backward": (
        "(Tensor a, Tensor b, Tensor nearest_b, Tensor nearest_a, Tensor grad, int norm) -> (Tensor, Tensor)",
        _pairs_backward,
        _fake_pairs_backward,
    ),
    "pool_max": ("(Tensor x) -> (Tensor, Tensor)", _pool_max, _fake_pool_max),
}


def _save_distances(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:2], output[1])
    ctx.num_options = len(inputs) - 2
    ctx.mark_non_differentiable(output[1])


def _distance_backward(ctx, grad_squared, _):
    """Of squared distances (B, Q, K) or (B, Q) to chosen points: through the chosen pairs alone."""
    queries, points, index = ctx.saved_tensors
    index, grad = index.reshape(*queries.shape[:2], -1), grad_squared.reshape(*queries.shape[:2], -1)
    part = 2 * grad.unsqueeze(-1) * (queries.unsqueeze(2) - reference.group(points, index))
    rows = index.flatten(1).unsqueeze(-1).expand(-1, -1, 3)
    grad_points = torch.zeros_like(points).scatter_add(1, rows, -part.flatten(1, 2))
    return part.sum(dim=2), grad_points, *[None] * ctx.num_options


def _save_pairs(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:2], *output[1:])
    ctx.norm, ctx.num_options = inputs[2], len(inputs) - 2
    ctx.mark_non_differentiable(*output[1:])


def _backward_of_pairs(ctx, grad, *_):
    return *pairs_backward(*ctx.saved_tensors, grad, ctx.norm), *[None] * ctx.num_options


def _save_maxima(ctx, inputs, output):
    ctx.save_for_backward(output[1])
    ctx.num_points = inputs[0].shape[1]
    ctx.mark_non_differentiable(output[1])


def _maxima_backward(ctx, grad, _):
    (index,) = ctx.saved_tensors
    rows = grad.new_zeros(grad.shape[0], ctx.num_points, grad.shape[1])
    return rows.scatter(1, index.long().unsqueeze(1), grad.unsqueeze(1))


def _save_patches(ctx, inputs, output):
    points, ctx.num_groups, _ = inputs
    ctx.save_for_backward(points, output[2])
    ctx.mark_non_differentiable(output[2])


def _patchify_backward(ctx, grad_centers, grad_patches, _):
    """Each point of a patch has the patch's gradient; the centre has its own, and the patch's is subtracted from it."""
    points, index = ctx.saved_tensors
    # Which points the centres are is not kept: a patch begins with its centre, or with another point in the same place.
    picked = fps(points.detach(), ctx.num_groups)
    grads = torch.cat([grad_centers - grad_patches.sum(dim=2), grad_patches.flatten(1, 2)], dim=1)
    rows = torch.cat([picked, index.flatten(1)], dim=1).unsqueeze(-1).expand_as(grads)
    return torch.zeros_like(points).scatter_add(1, rows, grads), None, None


for _name, (_schema, _kernel, _fake) in _OPERATIONS.items():
    _LIBRARY.define(_name + _schema)
    _LIBRARY.impl(_name, _kernel, "CompositeExplicitAutograd")
    torch.library.register_fake(f"{NAMESPACE}::{_name}", _fake, lib=_LIBRARY)
for _name, _backward, _save in (
    ("three_nn", _distance_backward, _save_distances),
    ("nearest", _distance_backward, _save_distances),
    ("patchify", _patchify_backward, _save_patches),
    ("pairs", _backward_of_pairs, _save_pairs),
    ("pool_max", _maxima_backward, _save_maxima),
):
    torch.library.register_autograd(f"{NAMESPACE}::{_name}", _backward, setup_context=_save, lib=_LIBRARY)

_registered = getattr(torch.ops, NAMESPACE)
fps, knn, patchify = _registered.fps.default, _registered.knn.default, _registered.patchify.default
three_nn, nearest = _registered.three_nn.default, _registered.nearest.default
pairs, pairs_backward = _registered.pairs.default, _registered.pairs_backward.default
pool_max = _registered.pool_max.default
