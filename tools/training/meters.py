"""Means of what the steps report, without making the host wait for the device at each of them."""

from collections.abc import Mapping, Sequence

import torch

from pointrecon.utils.processes import distributed


class MeanMeter:
    """Weighted means by name; sums stay on the values' device until `compute`."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self._totals: dict[str, torch.Tensor] = {}
        self._weights: dict[str, float] = {}

    def update(self, values: Mapping[str, torch.Tensor | float], weight: float = 1.0) -> None:
        """Adds the values of one step.

        Args:
            values: Scalars by name; a name may be absent from some steps.
            weight: What the step counts, usually the number of shapes in it.
        """
        for name, value in values.items():
            tensor = torch.as_tensor(value).detach()
            # float64 keeps long sums exact; one backend does not have it.
            tensor = tensor.to(torch.float32 if tensor.device.type == "mps" else torch.float64) * weight
            self._totals[name] = self._totals[name] + tensor if name in self._totals else tensor
            self._weights[name] = self._weights.get(name, 0.0) + weight

    def compute(self) -> dict[str, float]:
        """Returns the means over all steps and all processes; every process must have the same names."""
        return {name: total / weight for name, (total, weight) in self.state().items()}

    def state(self, is_shared: bool = True) -> dict[str, list[float]]:
        """Returns [sum, weight] by name, for a checkpoint; makes the host wait for the device.

        Args:
            is_shared: Over all processes, each of which must call this; otherwise of this one alone.
        """
        if not self._totals:
            return {}
        totals = torch.stack(list(self._totals.values())).to("cpu", torch.float64)  # one wait for all of them
        sums = torch.stack([totals, torch.tensor(list(self._weights.values()), dtype=torch.float64)])
        sums = distributed.all_reduce_sum(sums) if is_shared else sums
        return dict(zip(self._totals, sums.T.tolist(), strict=True))

    def load_state(self, sums: Mapping[str, Sequence[float]], is_main: bool = True) -> None:
        """Goes on from what `state` returned. One process counts it, the others only learn the names."""
        for name, (total, weight) in sums.items():
            self._totals[name] = torch.tensor(total if is_main else 0.0, dtype=torch.float64)
            self._weights[name] = weight if is_main else 0.0
