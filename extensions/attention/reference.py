"""Attention by torch's own function.

Shape legend: B batch, T tokens, Q queries, H heads, D width of a head.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..registry import is_transformed

# Tokens up to which the memory-efficient kernel beats cuDNN's and FlashAttention's on a GPU: for both passes over 26
# tokens 41 against 56 and 98 us (H200, batch 128, 6 heads of 64, bf16), over 64 tokens 53 against 78 and 113 us.
SHORT_SEQUENCE = 64
FOR_SHORT = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def attention(qkv: Tensor) -> Tensor:
    """(B, T, 3, H, D) -> (B, T, H * D); see `ops.attention`."""
    return _attend(*(x.transpose(1, 2) for x in qkv.unbind(2)))


def cross_attention(q: Tensor, kv: Tensor) -> Tensor:
    """(B, Q, H, D), (B, T, 2, H, D) -> (B, Q, H * D); see `ops.cross_attention`."""
    return _attend(q.transpose(1, 2), *(x.transpose(1, 2) for x in kv.unbind(2)))


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(B, H, Q, D), two (B, H, T, D) -> (B, Q, H * D)."""
    if not torch.compiler.is_compiling():  # torch before 2.8 reads memory that such tensors do not have
        q, k, v = (x.clone() if x._is_zerotensor() else x for x in (q, k, v))
    with _choose_kernel(q, k):
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def _choose_kernel(q: Tensor, k: Tensor) -> AbstractContextManager[None]:
    if is_transformed():
        return sdpa_kernel([SDPBackend.MATH])  # the only one that has forward-mode and second derivatives
    is_short = q.device.type == "cuda" and k.shape[2] <= SHORT_SEQUENCE
    return sdpa_kernel(FOR_SHORT) if is_short else nullcontext()
