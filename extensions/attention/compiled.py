"""Attention of few tokens by the CPU library, a head at a time in a core's cache.

Shape legend: B batch, T tokens, Q queries, H heads, D width of a head.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..backends.first_order import first_order
from ..backends.library import Function
from . import reference

WIDEST_VECTOR = 16  # floats; rows of weights are as long for narrower ones, so that all machines have the same
SECOND = "POINT_OPS=reference has it inside torch.nn.attention.sdpa_kernel(SDPBackend.MATH)"
MAX_TOKENS = 256  # with more, torch's own attention is as fast and keeps no weights

_attention = Function("point_ops_attention", 3, 7, 2)
_attention_backward = Function("point_ops_attention_backward", 5, 7, 3)


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
    def forward(ctx: Any, *projected: Tensor) -> Tensor:
        addresses, sizes = _addresses(projected), _sizes(projected)
        batch, num_queries, num_tokens, heads, width = sizes[:5]
        padded = -(-num_tokens // WIDEST_VECTOR) * WIDEST_VECTOR
        weights = projected[0].new_empty(batch, heads, num_queries, padded)
        out = projected[0].new_empty(batch, num_queries, heads * width)
        _attention(*addresses, *sizes, weights, out)
        ctx.save_for_backward(weights, *projected)
        return out

    @staticmethod
    @first_order("attention", SECOND)
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        weights, *projected = ctx.saved_tensors
        grads = [torch.empty_like(x) for x in projected]
        arguments = (*_addresses(projected), weights, *_sizes(projected), *_addresses(grads))
        _attention_backward(grad.contiguous(), *arguments)
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
