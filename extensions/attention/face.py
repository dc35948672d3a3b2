"""Attention on the layouts that projections leave: the public functions.

Shape legend: B batch, T tokens, Q queries, H heads, D width of a head.
"""

from typing import Any

from torch import Tensor

from ..checks import check_tensors, takes_float32_kernel
from ..dispatch import select_backend
from . import reference


def attention(qkv: Tensor) -> Tensor:
    """Self-attention, softmax(q k^T / sqrt(D)) v for each head (Vaswani et al., 2017).

    Args:
        qkv: (B, T, 3, H, D), queries, keys and values of T tokens in H heads of width D, in any precision.

    Returns:
        (B, T, H * D), differentiable once.

    Raises:
        ValueError: the shape is another.
    """
    check_tensors("attention", qkv=qkv)
    if qkv.dim() != 5 or qkv.shape[2] != 3:
        raise ValueError(f"attention takes qkv (B, T, 3, H, D), got {tuple(qkv.shape)}")
    return _choose("attention", qkv).attention(qkv)


def cross_attention(q: Tensor, kv: Tensor) -> Tensor:
    """Attention of queries to other tokens.

    Args:
        q: (B, Q, H, D), in any precision.
        kv: (B, T, 2, H, D), keys and values of at least one token.

    Returns:
        (B, Q, H * D), differentiable once.

    Raises:
        ValueError: the shapes are others or do not fit, the devices differ, or there is no token.
    """
    check_tensors("cross_attention", q=q, kv=kv)
    is_well = q.dim() == 4 and kv.dim() == 5 and kv.shape[2] == 2 and kv.shape[1] > 0
    if not is_well or q.shape[0] != kv.shape[0] or q.shape[2:] != kv.shape[3:]:
        raise ValueError(
            f"cross_attention takes q (B, Q, H, D) and kv (B, T, 2, H, D) with T of at least 1, got {tuple(q.shape)} "
            f"and {tuple(kv.shape)}"
        )
    return _choose("cross_attention", q, kv).cross_attention(q, kv)


def _choose(operation: str, *projected: Tensor) -> Any:
    return select_backend(projected[0], operation) if takes_float32_kernel(*projected) else reference
