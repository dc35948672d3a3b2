"""The one pre-norm block that all of these encoders are made of, with what differs as arguments.

Shape legend: B batch, T tokens, C channels, H heads, W hidden width.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from pointrecon.extensions import ops
from pointrecon.utils.errors import InputError


@dataclass(frozen=True)
class BlockShape:
    """What a block of one encoder looks like.

    Attributes:
        dim: C.
        num_heads: H.
        inner: Width of all heads together; C but for OpenShape, whose heads are 64 wide whatever C is.
        hidden: W.
        is_gated: The MLP is SiLU(a) * b of two maps C -> W (SwiGLU; Shazeer, 2020) instead of a GELU of one.
        has_mlp_norm: A LayerNorm lies before the MLP's last map (EVA-02; Fang et al., 2023).
        qkv_bias: Queries, keys and values have a bias.
        eps: Of the LayerNorms.
    """

    dim: int
    num_heads: int
    inner: int
    hidden: int
    is_gated: bool = False
    has_mlp_norm: bool = False
    qkv_bias: bool = False
    eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.num_heads < 1 or self.inner % self.num_heads:
            raise InputError(
                f"{self.num_heads} attention heads do not divide the width {self.inner}; give another num_heads"
            )


class OpenAttention(nn.Module):
    """Multi-head self-attention, C -> inner -> C."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.num_heads = shape.num_heads
        self.qkv = nn.Linear(shape.dim, 3 * shape.inner, bias=shape.qkv_bias)
        self.proj = nn.Linear(shape.inner, shape.dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return self.proj(ops.attention(self._split(x)))

    def weights(self, x: Tensor) -> Tensor:
        """How each token divides its attention: (B, T, C) -> (B, H, T, T), each row summing to 1."""
        q, k, _ = self._split(x).unbind(2)
        scores = q.transpose(1, 2) @ k.permute(0, 2, 3, 1)
        return (scores * q.shape[-1] ** -0.5).float().softmax(dim=-1)

    def _split(self, x: Tensor) -> Tensor:
        return self.qkv(x).unflatten(-1, (3, self.num_heads, -1))


class OpenMlp(nn.Module):
    """GELU or SwiGLU, with or without a norm before the last map."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.is_gated = shape.is_gated
        self.fc1 = nn.Linear(shape.dim, shape.hidden * (2 if shape.is_gated else 1))
        self.norm = nn.LayerNorm(shape.hidden, eps=shape.eps) if shape.has_mlp_norm else nn.Identity()
        self.fc2 = nn.Linear(shape.hidden, shape.dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        x = self.fc1(x)
        if self.is_gated:
            gate, value = x.chunk(2, dim=-1)
            x = F.silu(gate) * value
        else:
            x = F.gelu(x)
        return self.fc2(self.norm(x))


class OpenBlock(nn.Module):
    """x + attn(norm1 x), then x + mlp(norm2 x)."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.dim, eps=shape.eps)
        self.attn = OpenAttention(shape)
        self.norm2 = nn.LayerNorm(shape.dim, eps=shape.eps)
        self.mlp = OpenMlp(shape)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))
