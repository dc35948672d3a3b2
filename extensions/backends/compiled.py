"""CPU backend: the shared library that `build.py` makes of csrc/, called through ctypes with torch's thread count.

Shape legend: B batch, N points, M other points, Q queries, G samples, K neighbours; in
attention T tokens, H heads of width D.
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache, wraps
from pathlib import Path

import torch
from torch import Tensor

from . import build, reference

WIDEST_VECTOR = (
    16  # floats; rows of attention weights are as long for narrower ones, so that all machines have the same
)
MAX_TOKENS = 256  # with more, torch's own attention is as fast and keeps no weights

_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_int64
# Function -> how many pointers before the sizes, how many sizes, how many pointers after them.
_FUNCTIONS = {
    "point_ops_fps": (1, 3, 1),
    "point_ops_knn": (2, 4, 1),
    "point_ops_patchify": (1, 4, 3),
    "point_ops_three_nn": (2, 3, 2),
    "point_ops_nearest": (2, 3, 2),
    "point_ops_nearest_backward": (4, 3, 2),
    "point_ops_patch_max": (1, 3, 2),
    "point_ops_linear_max_backward": (4, 5, 2),
    "point_ops_attention": (3, 7, 2),
    "point_ops_attention_backward": (5, 7, 3),
}


def is_available(device_type: str) -> bool:
    """Whether the library is there for a type of device ("cpu", "cuda", ...)."""
    return not unavailable_reason(device_type)


def unavailable_reason(device_type: str) -> str:
    """Why it is not; empty if it is."""
    if device_type != "cpu":
        return "the compiled operations run on the CPU"
    if not build.library_path().is_file():
        return f"not built, run python -m {__package__}.build"
    try:
        _library()
    except (OSError, AttributeError) as error:
        return f"the library cannot be loaded: {error}"
    return ""


def fps(points: Tensor, num_samples: int) -> Tensor:
    """(B, N, 3) -> (B, G) int64; see `ops.fps`."""
    batch, num_points, _ = points.shape
    picked = points.new_empty(batch, num_samples, dtype=torch.int64)
    _call("point_ops_fps", points, batch, num_points, num_samples, picked)
    return picked


def knn(points: Tensor, queries: Tensor, k: int) -> Tensor:
    """(B, N, 3), (B, Q, 3) -> (B, Q, k) int64; see `ops.knn`."""
    batch, num_queries, _ = queries.shape
    index = points.new_empty(batch, num_queries, k, dtype=torch.int64)
    _call("point_ops_knn", points, queries, batch, points.shape[1], num_queries, k, index)
    return index


def patchify(points: Tensor, num_groups: int, group_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, N, 3) -> (B, G, 3), (B, G, K, 3), (B, G, K) int64, without a graph; see `ops.patchify`."""
    batch, num_points, _ = points.shape
    centers = points.new_empty(batch, num_groups, 3)
    patches = points.new_empty(batch, num_groups, group_size, 3)
    index = points.new_empty(batch, num_groups, group_size, dtype=torch.int64)
    _call("point_ops_patchify", points, batch, num_points, num_groups, group_size, centers, patches, index)
    return centers, patches, index


def three_nn(queries: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """(B, Q, 3), (B, N, 3) -> (B, Q, 3) squared distances, (B, Q, 3) int64, without a graph; see `ops.three_nn`."""
    batch, num_queries, _ = queries.shape
    squared = queries.new_empty(batch, num_queries, 3)
    index = queries.new_empty(batch, num_queries, 3, dtype=torch.int64)
    _call("point_ops_three_nn", queries, points, batch, num_queries, points.shape[1], squared, index)
    return squared, index


def nearest(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(B, N, 3), (B, M, 3) -> (B, N) squared distance to the nearest in b and its index, without a graph."""
    batch, num_points, _ = a.shape
    squared, index = a.new_empty(batch, num_points), a.new_empty(batch, num_points, dtype=torch.int64)
    _call("point_ops_nearest", a, b, batch, num_points, b.shape[1], squared, index)
    return squared, index


def chamfer_distance(a: Tensor, b: Tensor, norm: int = 2) -> Tensor:
    """(B, N, 3), (B, M, 3) -> scalar; see `ops.chamfer_distance`."""
    return _Chamfer.apply(a, b, norm)


class _Chamfer(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b, norm):
        (from_a, index_a), (from_b, index_b) = nearest(a, b), nearest(b, a)
        ctx.norm = norm
        ctx.save_for_backward(a, b, from_a, index_a, from_b, index_b)
        if norm == 2:
            return from_a.mean() + from_b.mean()
        return (from_a.sqrt().mean() + from_b.sqrt().mean()) / 2

    @staticmethod
    def backward(ctx, grad):
        a, b, from_a, index_a, from_b, index_b = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient may be asked for
            return *reference.chamfer_gradient(a, b, index_a, index_b, ctx.norm, grad), None
        grad_a, grad_b = torch.zeros_like(a), torch.zeros_like(b)
        _add_gradient(a, b, index_a, _slope(from_a, grad, ctx.norm), grad_a, grad_b)
        _add_gradient(b, a, index_b, _slope(from_b, grad, ctx.norm), grad_b, grad_a)
        return grad_a, grad_b, None


def _without_graph(backward: Callable) -> Callable:
    """For kernels that give a gradient alone: refuses to drop the gradient of it in silence."""

    @wraps(backward)
    def checked(ctx, grad):
        if torch.is_grad_enabled():
            raise RuntimeError(
                "linear_max and attention have no second derivative in the backend compiled; POINT_OPS=reference has it"
            )
        return backward(ctx, grad)

    return checked


def linear_max(x: Tensor, weight: Tensor, relu: bool = False) -> Tensor:
    """(P, K, D), (C, D) -> (P, C); see `ops.linear_max`."""
    return _LinearMax.apply(x, weight, relu)


class _LinearMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, relu):
        x = x.relu() if relu else x
        num_patches, num_points, _ = x.shape
        best = x.new_empty(num_patches, len(weight))
        where = x.new_empty(best.shape, dtype=torch.int32)
        _call("point_ops_patch_max", x @ weight.T, num_patches, num_points, len(weight), best, where)
        ctx.save_for_backward(x, weight, where)
        ctx.relu = relu
        return best

    @staticmethod
    @_without_graph
    def backward(ctx, grad):
        x, weight, where = ctx.saved_tensors
        grad_x, grad_weight = torch.empty_like(x), torch.empty_like(weight)
        sizes = (*x.shape[:2], *weight.shape, int(ctx.relu))
        _call("point_ops_linear_max_backward", grad.contiguous(), where, x, weight, *sizes, grad_x, grad_weight)
        return grad_x, grad_weight, None


def attention(qkv: Tensor) -> Tensor:
    """(B, T, 3, H, D) -> (B, T, H * D); see `ops.attention`."""
    return _attend(qkv) if _fits(qkv) else reference.attention(qkv)


def cross_attention(q: Tensor, kv: Tensor) -> Tensor:
    """(B, Q, H, D), (B, T, 2, H, D) -> (B, Q, H * D); see `ops.cross_attention`."""
    return _attend(q, kv) if _fits(kv) else reference.cross_attention(q, kv)


def _fits(projected: Tensor) -> bool:
    """Whether heads are whole vectors wide, and few enough tokens that their weights may be kept."""
    return projected.shape[-1] % WIDEST_VECTOR == 0 and 0 < projected.shape[1] <= MAX_TOKENS


def _attend(*projected: Tensor) -> Tensor:
    return _Attention.apply(*(x.contiguous() for x in projected))


class _Attention(torch.autograd.Function):
    """Of one tensor (B, T, 3, H, D), or of q (B, Q, H, D) and kv (B, T, 2, H, D), all contiguous."""

    @staticmethod
    def forward(ctx, *projected):
        addresses, sizes = _addresses(projected), _sizes(projected)
        batch, num_queries, num_tokens, heads, width = sizes[:5]
        padded = -(-num_tokens // WIDEST_VECTOR) * WIDEST_VECTOR
        weights = projected[0].new_empty(batch, heads, num_queries, padded)
        out = projected[0].new_empty(batch, num_queries, heads * width)
        _call("point_ops_attention", *addresses, *sizes, weights, out)
        ctx.save_for_backward(weights, *projected)
        return out

    @staticmethod
    @_without_graph
    def backward(ctx, grad):
        weights, *projected = ctx.saved_tensors
        grads = [torch.empty_like(x) for x in projected]
        arguments = (*_addresses(projected), weights, *_sizes(projected), *_addresses(grads))
        _call("point_ops_attention_backward", grad.contiguous(), *arguments)
        return tuple(grads)


def _addresses(projected: Sequence[Tensor]) -> list[int]:
    """Where q, k and v begin."""
    row = projected[0].shape[-2] * projected[0].shape[-1] * projected[0].element_size()
    start = projected[-1].data_ptr()
    if len(projected) == 2:
        return [projected[0].data_ptr(), start, start + row]
    return [start, start + row, start + 2 * row]


def _sizes(projected: Sequence[Tensor]) -> tuple[int, ...]:
    """B, Q, T, H, D, and from one token to the next in q and in k and v."""
    q, kv = projected[0], projected[-1]
    return (*q.shape[:2], kv.shape[1], *q.shape[-2:], q.stride(1), kv.stride(1))


def _slope(squared: Tensor, grad: Tensor, norm: int) -> Tensor:
    """Gradient of the loss in each squared distance; 0 at distance 0, where the root has none."""
    share = grad / squared.numel()
    if norm == 2:
        return share.expand_as(squared).contiguous()
    return (share / 4 * squared.rsqrt()).masked_fill_(squared == 0, 0.0)


def _add_gradient(a: Tensor, b: Tensor, index: Tensor, slope: Tensor, grad_a: Tensor, grad_b: Tensor) -> None:
    _call("point_ops_nearest_backward", a, b, index, slope, *a.shape[:2], b.shape[1], grad_a, grad_b)


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(build.library_path()))
    for name, (before, sizes, after) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.argtypes = [_POINTER] * before + [_SIZE] * sizes + [_POINTER] * after + [ctypes.c_int]
        function.restype = ctypes.c_bool
    library.point_ops_use_region.argtypes = [_POINTER]
    library.point_ops_use_region(_products_region())
    return library


def _products_region() -> int | None:
    """Where libgomp, which torch's matrix products run in, begins a parallel region; None if torch uses another one."""
    try:
        torch_library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        return ctypes.cast(torch_library.GOMP_parallel, _POINTER).value
    except (OSError, AttributeError):
        return None


def _call(name: str, *arguments: Tensor | int) -> None:
    """Calls a function of the library; tensors are contiguous and of the type that it reads or writes."""
    plain = [argument.data_ptr() if isinstance(argument, Tensor) else argument for argument in arguments]
    if not getattr(_library(), name)(*plain, torch.get_num_threads()):
        raise MemoryError(f"{name}: out of memory")
