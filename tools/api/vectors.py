"""The nearest of many vectors, exactly: a first look at rows of 8 bits says which rows are worth a second one.

Where there are many rows, a row x is kept in half precision and also as 8-bit codes with x ~ scale * codes. How far a
product of codes may be from that of the vectors follows from the lengths of what the codes leave out (Cauchy-Schwarz),
so a row that cannot be among the best need not be read: a search reads a quarter of what float32 rows take, and its
answer is the same.

Shape legend: n rows, D width, k best.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

CODED_ROWS = 20_000  # below, all rows are read: that takes less than a millisecond or two
FAISS_ROWS = 100_000
CODE = 127
GROUP = 64  # rows whose best is looked at first
BLOCK = 1 << 16  # rows that are coded at once
SAMPLED_ROWS = 4096  # of which the spread of scores is taken
FAISS_MORE = 50  # candidates for each row that is wanted


class Vectors:
    """Rows of unit length.

    Args:
        rows: (n, D) of unit length, float32, or float16 where there are many.
        codes: (n, D) int8; None: there are few rows.
        scale: (n,) float32.
        error: (1,) float32, the greatest length of a row minus scale * codes.
        basis: (W, D) float32 with orthonormal columns: queries of W values are brought to D by it; None: W = D.
    """

    def __init__(
        self,
        rows: Tensor,
        codes: Tensor | None = None,
        scale: Tensor | None = None,
        error: Tensor | None = None,
        basis: Tensor | None = None,
    ) -> None:
        self.rows, self.codes, self.scale, self.error, self.basis = rows, codes, scale, error, basis
        self._faiss: Any = None

    @classmethod
    def of(cls, vectors: Tensor, basis: Tensor | None = None) -> "Vectors":
        """From (n, W) of any length; with a basis whose columns span them, they are kept by fewer values."""
        unit = vectors if basis is None else vectors @ basis
        rows = F.normalize(unit.float(), dim=-1)
        if len(rows) < CODED_ROWS:
            return cls(rows, basis=basis)
        rows = rows.half()
        parts = [_encode(block) for block in rows.split(BLOCK)]
        codes, scale, error = (torch.cat(part) for part in zip(*parts, strict=True))
        return cls(rows, codes, scale, error.max()[None], basis)

    def __len__(self) -> int:
        return len(self.rows)

    def to_tensors(self, name: str) -> dict[str, Tensor]:
        """What a file keeps, by name."""
        parts = {"rows": self.rows, "codes": self.codes, "scale": self.scale, "error": self.error, "basis": self.basis}
        return {f"{name}.{key}": part.contiguous() for key, part in parts.items() if part is not None}

    @classmethod
    def from_tensors(cls, name: str, tensors: Mapping[str, Tensor]) -> "Vectors":
        """What `to_tensors` gave.

        Raises:
            ValueError: Something is missing, or of another shape or type.
        """
        keys = ("rows", "codes", "scale", "error", "basis")
        rows, codes, scale, error, basis = (tensors.get(f"{name}.{key}") for key in keys)
        if rows is None or rows.dim() != 2 or rows.dtype not in (torch.float16, torch.float32):
            raise ValueError(f"{name}.rows are missing, or not (n, D) numbers")
        if codes is not None:
            is_right = codes.shape == rows.shape and codes.dtype == torch.int8
            if not is_right or scale is None or error is None or scale.shape != (len(rows),) or error.shape != (1,):
                raise ValueError(f"{name}.codes do not belong to the rows")
        if basis is not None and (basis.dim() != 2 or basis.dtype != torch.float32 or basis.shape[1] != rows.shape[1]):
            raise ValueError(f"{name}.basis is of another width than the rows")
        if basis is not None and not ((basis.T @ basis - torch.eye(basis.shape[1])).abs() < 0.01).all():
            raise ValueError(f"{name}.basis has columns that are not orthonormal")
        return cls(rows, codes, scale, error, basis)

    def query(self, vector: Tensor) -> Tensor:
        """(W,) of any length -> (D,) float32, what is compared with the rows.

        Raises:
            ValueError: Another width.
        """
        unit = F.normalize(vector.float(), dim=-1)
        width = len(self.basis) if self.basis is not None else self.rows.shape[1]
        if len(unit) != width:
            raise ValueError(f"{len(unit)} values, but {width} are wanted")
        return unit if self.basis is None else unit @ self.basis

    def score(self, query: Tensor, rows: Tensor | None = None) -> Tensor:
        """Cosines (m,) float32 of some rows, or of all."""
        if rows is not None:
            return self.rows[rows].float() @ query
        return torch.cat([block.float() @ query for block in self.rows.split(BLOCK)])

    def estimate(self, query: Tensor) -> tuple[Tensor, float, float]:
        """Cosines (n,) from the codes, what they are to be multiplied by, and by how much any may be wrong at most."""
        assert self.codes is not None and self.scale is not None and self.error is not None
        step = max(float(query.abs().max()) / CODE, torch.finfo(torch.float32).tiny)
        codes = (query / step).round()
        found = torch._int_mm(codes.to(torch.int8)[None], self.codes.T)[0]
        rest = float((query - codes * step).norm())
        # A row is at most 1.001 long in half precision; the last term is what sums in float32 leave out.
        wrong = float(self.error) * float(query.norm() + rest) + 1.001 * rest + 1e-5
        return found.float().mul_(self.scale), step, wrong

    def is_sound(self, rows: Tensor) -> bool:
        """Whether these rows are of unit length, as none is that a bit of the file has made something else."""
        lengths = self.rows[rows].float().norm(dim=1)
        return bool((((lengths - 1).abs() < 0.01) | (lengths == 0)).all())

    def spread(self, query: Tensor) -> tuple[float, float]:
        """Mean and standard deviation of the scores, over rows that are evenly drawn."""
        rows = torch.linspace(0, len(self) - 1, min(len(self), SAMPLED_ROWS)).long()
        scores = self.score(query, rows)
        return float(scores.mean()), max(float(scores.std(correction=0)), 1e-6)

    def faiss_index(self) -> Any:
        """FAISS over the same rows, made when it is first asked for."""
        import faiss

        if self._faiss is None:
            width = self.rows.shape[1]
            self._faiss = faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
            self._faiss.train(self.rows[:BLOCK].float().numpy())
            for block in self.rows.split(BLOCK):
                self._faiss.add(block.float().numpy())
        return self._faiss


def find_nearest(
    parts: Sequence[tuple[Vectors, Tensor, float]], k: int, *, method: str = "auto"
) -> tuple[Tensor, Tensor]:
    """The best rows by a weighted sum of cosines.

    Args:
        parts: Vectors of the same shapes in several spaces, the query (D,) in each, and its weight;
            at least 0, one above it.
        k: How many.
        method: `exact`; `faiss`, whose 8-bit first look may miss a row; `auto`: exact, and FAISS only above
            `FAISS_ROWS` rows where this processor has no exact products of 8 bits and FAISS is installed.

    Returns:
        scores (k,), the best first, and rows (k,) int64; of equal scores the earlier row comes first.
    """
    parts = [part for part in parts if part[2] > 0] or list(parts[:1])
    vectors = parts[0][0]
    k = min(k, len(vectors))
    is_coded = all(part.codes is not None for part, _, _ in parts) and has_exact_products()
    if method == "faiss" or (method == "auto" and not is_coded and len(vectors) > FAISS_ROWS and has_faiss()):
        rows = _faiss_candidates(parts, k)
    elif is_coded:
        rows = _candidates(parts, k)
    else:
        rows = None
    scores = sum(weight * part.score(query, rows) for part, query, weight in parts)
    assert isinstance(scores, Tensor)
    order = scores.sort(descending=True, stable=True) if len(scores) < 4 * k else scores.topk(k)
    best = order.indices[:k]
    return order.values[:k], best if rows is None else rows[best]


def _candidates(parts: Sequence[tuple[Vectors, Tensor, float]], k: int) -> Tensor:
    """Rows that may be among the best k, and all that are."""
    total, unit, slack = None, 1.0, 0.0
    for vectors, query, weight in parts:
        score, step, wrong = vectors.estimate(query)
        if total is None:
            total, unit = score, weight * step
        else:
            total.add_(score, alpha=weight * step / unit)
        slack += weight * wrong
    assert total is not None
    whole = len(total) // GROUP * GROUP
    blocks = total[:whole].view(-1, GROUP)
    tops = blocks.amax(dim=1)
    if len(tops) < k:
        return torch.arange(len(total))
    # At least k rows are this good, one in each of the k best groups, less what they may be wrong by.
    least = float(tops.topk(k).values[-1]) - 2 * slack / unit
    groups = (tops >= least).nonzero()[:, 0]
    rows = (blocks[groups] >= least).nonzero()
    return torch.cat([groups[rows[:, 0]] * GROUP + rows[:, 1], torch.arange(whole, len(total))])


def _faiss_candidates(parts: Sequence[tuple[Vectors, Tensor, float]], k: int) -> Tensor:
    count = min(len(parts[0][0]), max(FAISS_MORE * k, 1000))
    found = [torch.from_numpy(v.faiss_index().search(query[None].numpy(), count)[1][0]) for v, query, _ in parts]
    return torch.cat(found).unique()


def _encode(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    values = rows.float()
    scale = (values.abs().amax(dim=1) / CODE).clamp(min=torch.finfo(torch.float32).tiny)
    codes = (values / scale[:, None]).round()
    error = (values - codes * scale[:, None]).norm(dim=1).max()
    return codes.to(torch.int8), scale, error[None]


@functools.cache
def has_exact_products() -> bool:
    """Whether products of 8-bit matrices are exact here; without the instructions for them, sums may saturate."""
    high = torch.full((2, 512), CODE, dtype=torch.int8)
    found = torch._int_mm(high, torch.cat([high, -high]).T)
    return found.tolist() == [[512 * CODE**2] * 2 + [-512 * CODE**2] * 2] * 2


def has_faiss() -> bool:
    """Whether FAISS is installed."""
    try:
        import faiss  # noqa: F401
    except ImportError:
        return False
    return True
