"""Transformer layers.

Shape legend: B batch, T tokens, S source tokens, C channels, H heads.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointrecon.extensions import ops
from pointrecon.utils.errors import InputError
from pointrecon.utils.seed import draw_rows, is_batch_whole


class DropPath(nn.Module):
    """Stochastic depth: drops a residual branch for whole samples (Huang et al., 2016)."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...); kept branches are divided by the probability of keeping them."""
        if self.rate == 0.0 or not self.training:
            return x
        keep = 1.0 - self.rate
        # Drawn in float32: half precision has too few values below 1 for small rates.
        ones = [1] * (x.dim() - 1)
        is_kept = draw_rows(lambda rows: torch.rand(rows, *ones, device=x.device), len(x)) < keep
        return x * (is_kept / keep).to(x.dtype)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


class Dropout(nn.Dropout):
    """As nn.Dropout; processes that share a batch drop what one process would have dropped."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...)."""
        if not self.training or self.p == 0.0:
            return x
        if is_batch_whole():
            return F.dropout(x, self.p)
        ones = x.new_ones(1)
        return x * draw_rows(lambda rows: F.dropout(ones.expand(rows, *x.shape[1:]).clone(), self.p), len(x))


class Mlp(nn.Module):
    """Two Linear layers with a GELU between them."""

    def __init__(self, dim: int, ratio: float = 4.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, int(dim * ratio))
        self.fc2 = nn.Linear(int(dim * ratio), dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return self.fc2(F.gelu(self.fc1(x)))


class Attention(nn.Module):
    """Multi-head self-attention; qkv without bias unless asked for, output projection with one."""

    def __init__(self, dim: int, num_heads: int, bias: bool = False) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, first: int = 0) -> Tensor:
        """(B, T, C) -> (B, T - first, C): all tokens are attended to, the first ones do not ask."""
        if first:
            sizes = [x.shape[-1], 2 * x.shape[-1]]
            for_query, for_source = self.qkv.weight.split(sizes)
            of_query, of_source = (None, None) if self.qkv.bias is None else self.qkv.bias.split(sizes)
            q = F.linear(x[:, first:], for_query, of_query).unflatten(-1, (self.num_heads, -1))
            kv = F.linear(x, for_source, of_source).unflatten(-1, (2, self.num_heads, -1))
            return self.proj(ops.cross_attention(q, kv))
        return self.proj(ops.attention(self.qkv(x).unflatten(-1, (3, self.num_heads, -1))))


class CrossAttention(nn.Module):
    """Multi-head attention of queries to a source; projections in as in `Attention`."""

    def __init__(self, dim: int, num_heads: int, bias: bool = False) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim, bias=bias)
        self.kv = nn.Linear(dim, 2 * dim, bias=bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, queries: Tensor, source: Tensor) -> Tensor:
        """(B, T, C), (B, S, C) -> (B, T, C)."""
        q = self.q(queries).unflatten(-1, (self.num_heads, -1))
        kv = self.kv(source).unflatten(-1, (2, self.num_heads, -1))
        return self.proj(ops.cross_attention(q, kv))


class Block(nn.Module):
    """Pre-norm transformer block: x + attn(norm1 x), then x + mlp(norm2 x)."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, mlp_ratio)
        self.drop_path1 = DropPath(drop_path)
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x: Tensor, first: int = 0) -> Tensor:
        """(B, T, C) -> (B, T - first, C), of what the first tokens have become nothing is made."""
        x = x[:, first:] + self.drop_path1(self.attn(self.norm1(x), first))
        return x + self.drop_path2(self.mlp(self.norm2(x)))


class PositionEmbedding(nn.Sequential):
    """MLP 3 -> 128 -> C on patch centres, GELU between."""

    def __init__(self, dim: int) -> None:
        super().__init__(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, dim))

    def forward(self, centers: Tensor) -> Tensor:
        """(..., 3) -> (..., C), in float32 under autocast: bf16 would leave a coordinate three digits."""
        with torch.autocast(centers.device.type, enabled=False):
            return super().forward(centers)


def check_heads(dim: int, num_heads: int) -> None:
    """Raises InputError unless num_heads divides dim."""
    if num_heads < 1 or dim % num_heads:
        raise InputError(f"the width {dim} cannot be split into {num_heads} heads; choose num_heads that divides it")


def drop_path_rates(rate: float, depth: int) -> list[float]:
    """Rates rising linearly from 0 in the first block to `rate` in the last.

    Raises:
        InputError: rate is no probability below 1.
    """
    if not 0 <= rate < 1:
        raise InputError(f"model.drop_path is {rate}, but must be at least 0 and below 1")
    return [rate * i / max(1, depth - 1) for i in range(depth)]


def init_truncated_normal(module: nn.Module) -> None:
    """Linear weights truncated normal 0.02 with biases 0, LayerNorm 1 and 0 (for `nn.Module.apply`)."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


def init_xavier(module: nn.Module) -> None:
    """Linear weights Xavier-uniform with biases 0, LayerNorm 1 and 0 (for `nn.Module.apply`)."""
    init_truncated_normal(module)
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
