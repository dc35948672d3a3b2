"""Where the queries of each name stand among all queries of an encoder.

Shape legend: B batch, Q queries of all names, q queries of one name, C channels.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from pointrecon.utils.errors import InputError


class Queries:
    """The names of an encoder's queries, and where each name's queries stand.

    Args:
        counts: name -> number of queries, in the order in which the encoder has them; names with none are left out.

    Attributes:
        counts: the same, without names that have none.
        total: Q.

    Raises:
        InputError: there is none at all.
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        self.counts = {name: count for name, count in counts.items() if count}
        if not self.counts:
            raise InputError("model.queries has no query; give at least one, such as {cls: 1}")
        self.total, self._places = 0, {}
        for name, count in self.counts.items():
            self._places[name] = slice(self.total, self.total + count)
            self.total += count

    def __contains__(self, name: str) -> bool:
        return name in self.counts

    def pick(self, queries: Tensor, name: str) -> Tensor:
        """Those of one name: (B, Q, C) -> (B, C) of a single one, (B, q, C) of several."""
        picked = queries[:, self._places[name]]
        return picked[:, 0] if self.counts[name] == 1 else picked

    def pool(self, queries: Tensor) -> Tensor:
        """One vector a name, the maximum over its queries: (B, Q, C) -> (B, names, C)."""
        if self.total == len(self.counts):
            return queries
        return torch.stack([queries[:, place].amax(dim=1) for place in self._places.values()], dim=1)
