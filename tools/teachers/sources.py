"""Where the targets of a step come from: tables of cached features on the device, or the teachers themselves.

Every source has `dim` and `draw(batch, rows, generator)`. A live source draws from the generator what a cached one
draws, so both give the same targets wherever the cache holds what the live teacher would be shown.

Shape legend: n samples, B samples of a batch, U different names, V views, P prompts per name, D feature width.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.images.views import NUM_DRAWS, view_draws
from pointrecon.datasets.prompts import TEMPLATES, prompts_for, spread_templates
from pointrecon.models.teachers.base import Teacher
from pointrecon.tools.teachers.image_input import encode_views
from pointrecon.utils.errors import InputError
from pointrecon.utils.seed import draw_rows

MEAN_OVER = 2048  # samples of which a live teacher's mean is taken
_BATCH_SIZE = 64  # of the pass that takes it
Progress = Callable[[Iterable, str], Iterable]


class CachedImages:
    """Picks one or several of the cached views.

    Args:
        table: (n, V, D), on the device.
        is_centered: subtract the mean over all samples and views.
        draws: how many views of a sample, at most all.
    """

    def __init__(self, table: Tensor, is_centered: bool, draws: int = 1) -> None:
        self.table, self.dim, self.draws = table, table.shape[-1], draws
        self.mean = table.mean(dim=(0, 1), dtype=torch.float32) if is_centered else None

    def draw(self, batch: Mapping[str, Any], rows: Tensor, generator: torch.Generator) -> Tensor:
        """(B, D) float32: a random view of each sample, or (B, R, D) of R different ones."""
        rows = rows.to(self.table.device, non_blocking=True)
        choice = _choose(self.table.shape[1], len(rows), generator, self.draws)
        return _subtract(self.table[_beside(rows, choice), choice].float(), self.mean)


class CachedText:
    """Picks one or several of the cached prompts.

    Args:
        table: (U, P, D), on the device.
        name_of: (n,) int64, each sample's row in the table.
        is_centered: subtract the mean over all samples and prompts.
        draws: how many prompts of a name, at most all.
    """

    def __init__(self, table: Tensor, name_of: Tensor, is_centered: bool, draws: int = 1) -> None:
        self.draws = draws
        self.table, self.name_of, self.dim = table, name_of.to(table.device), table.shape[-1]
        self.mean = None
        if is_centered:
            share = name_of.to(table.device).bincount(minlength=len(table)).float() / len(name_of)
            self.mean = (table.mean(dim=1) * share[:, None]).sum(dim=0)

    def draw(self, batch: Mapping[str, Any], rows: Tensor, generator: torch.Generator) -> Tensor:
        """(B, D) float32: a random prompt of each sample's name, or (B, R, D) of R different ones."""
        choice = _choose(self.table.shape[1], len(rows), generator, self.draws)
        names = self.name_of[rows.to(self.table.device, non_blocking=True)]
        return _subtract(self.table[_beside(names, choice), choice], self.mean)


class CarriedFeatures:
    """Picks one or several of the features that come with each sample, as from shards.

    Args:
        name: of the features in a batch.
        known: what the data set knows of them: `count`, `dim` and `mean`.
        count: the first ones of each to draw among; None: all.
        is_centered: subtract the mean over all samples.
        device: where to.
        draws: how many of a sample's features, at most all.

    Raises:
        InputError: the data set has fewer.
    """

    def __init__(
        self,
        name: str,
        known: Mapping[str, Any],
        count: int | None,
        is_centered: bool,
        device: torch.device,
        draws: int = 1,
    ) -> None:
        if count is not None and not 1 <= count <= known["count"]:
            raise InputError(
                f"teachers.*.num_views or num_prompts is {count}, but the samples carry {known['count']} "
                f"{name.replace('_', ' ')}; use 1 to {known['count']}, or null"
            )
        self.name, self.dim, self.device, self.draws = name, known["dim"], device, draws
        self.count = known["count"] if count is None else count
        self.mean = torch.tensor(known["mean"], device=device) if is_centered else None
        self.is_padded = bool(known.get("is_padded", False))

    def draw(self, batch: Mapping[str, Any], rows: Tensor, generator: torch.Generator) -> Tensor:
        """(B, D) float32: one of each sample's features at random, or (B, R, D): R different ones.

        Where samples may lack some, what is there comes first, and (B, R, D) is zero from there on, for R = 1 too.
        """
        features = batch[self.name].to(self.device, non_blocking=True)  # all of them: the choice is made there
        if self.is_padded:
            return self._draw_padded(features[:, : self.count], generator)
        choice = _choose(self.count, len(features), generator, self.draws).to(self.device, non_blocking=True)
        picked = features[_beside(torch.arange(len(choice), device=self.device), choice), choice]
        return _subtract(picked.float(), self.mean)

    def _draw_padded(self, features: Tensor, generator: torch.Generator) -> Tensor:
        options: dict[str, Any] = {"device": generator.device, "generator": generator}
        noise = draw_rows(lambda count: torch.rand(count, features.shape[1], **options), len(features))
        order = noise.to(self.device, non_blocking=True) + is_target(features)
        chosen = order.topk(min(self.draws, self.count), dim=1).indices
        picked = features.gather(1, chosen.unsqueeze(-1).expand(-1, -1, features.shape[-1])).float()
        return picked if self.mean is None else (picked - self.mean) * is_target(picked).unsqueeze(-1)


class CachedSamples:
    """All cached targets of each sample.

    Args:
        table: (n, R, D), on the device; a target that is all zero is none.
        is_centered: subtract the mean over all targets.
    """

    def __init__(self, table: Tensor, is_centered: bool) -> None:
        self.table, self.dim = table, table.shape[-1]
        self.mean = mean_target(table) if is_centered else None

    def draw(self, batch: Mapping[str, Any], rows: Tensor, generator: torch.Generator) -> Tensor:
        """(B, D), or (B, R, D) of several targets, float32."""
        return center_targets(self.table[rows.to(self.table.device, non_blocking=True)], self.mean)


class CarriedSamples:
    """All targets that come with each sample, as from a data set that knows them.

    Args:
        name: of the features in a batch, (B, R, D).
        known: what the data set knows of them: `dim` and `mean`.
        is_centered: subtract the mean.
        device: where to.
    """

    def __init__(self, name: str, known: Mapping[str, Any], is_centered: bool, device: torch.device) -> None:
        self.name, self.dim, self.device = name, known["dim"], device
        self.mean = torch.tensor(known["mean"], device=device) if is_centered else None

    def draw(self, batch: Mapping[str, Any], rows: Tensor, generator: torch.Generator) -> Tensor:
        """(B, D), or (B, R, D) of several targets, float32."""
        return center_targets(batch[self.name].to(self.device, non_blocking=True), self.mean)


class LiveSamples:
    """Shows the samples of the batch to the teacher, as the data set gives them.

    Args:
        teacher: has `encode_samples`; on the device.
        dataset: the training split.
        is_centered: subtract a mean: that of up to `MEAN_OVER` samples, evenly spread over the data set.
        progress: wraps the pass over these.
    """

    def __init__(self, teacher: Teacher, dataset: PointCloudDataset, is_centered: bool, progress: Progress) -> None:
        self.teacher, self.dim, self.mean = teacher, teacher.dim, None
        if is_centered:
            parts = progress(list(_evenly(len(dataset)).split(_BATCH_SIZE)), "mean feature")
            batches = (default_collate([dataset[row] for row in part.tolist()]) for part in parts)
            self.mean = mean_target(torch.cat([teacher.encode_samples(batch) for batch in batches]))

    def draw(self, batch: Mapping[str, Any], rows: Tensor, generator: torch.Generator) -> Tensor:
        """(B, D), or (B, R, D) of several targets, float32."""
        return center_targets(self.teacher.encode_samples(batch), self.mean)


def mean_target(table: Tensor) -> Tensor:
    """Mean over all targets that are there: (n, R, D) or (n, D) -> (D,) float32."""
    rows = table.flatten(0, -2).float()
    return rows.sum(dim=0) / is_target(rows).sum().clamp(min=1)


def center_targets(targets: Tensor, mean: Tensor | None) -> Tensor:
    """Targets in float32, minus a mean where they are there; a single one a sample loses its axis."""
    targets = targets.float()
    if targets.dim() == 3 and targets.shape[1] == 1:
        targets = targets[:, 0]
    return targets if mean is None else (targets - mean) * is_target(targets).unsqueeze(-1)


def is_target(rows: Tensor) -> Tensor:
    """Which targets are there: (..., D) -> (...) bool. One that is all zero is none, as in OpenShape's files."""
    return (rows != 0).any(dim=-1)


class LiveImages:
    """Shows the pictures of the batch to the teacher, each in a view of its own.

    Args:
        teacher: sees pictures; on the device.
        dataset: gives samples with `image`.
        num_views: draw among this many views, those that a cache would hold; None: views that nobody has seen before.
        seed: of these views.
        is_centered: subtract a mean: that of up to `MEAN_OVER` pictures as they are, evenly spread over the data set.
        progress: wraps the pass over these.
    """

    def __init__(
        self,
        teacher: Teacher,
        dataset: PointCloudDataset,
        num_views: int | None,
        seed: int,
        is_centered: bool,
        progress: Progress,
    ) -> None:
        self.teacher, self.dim = teacher, teacher.dim
        self.views = None
        if num_views is not None:
            keys = [(name, view) for name in dataset.ids for view in range(num_views)]
            self.views = view_draws(seed, keys).view(len(dataset.ids), num_views, NUM_DRAWS)
        self.mean = None
        if is_centered:
            parts = progress(list(_evenly(len(dataset)).split(_BATCH_SIZE)), "mean feature")
            pictures = (torch.stack([dataset[row]["image"] for row in part.tolist()]) for part in parts)
            self.mean = torch.cat([teacher.encode_image(images) for images in pictures]).mean(dim=0)

    def draw(self, batch: Mapping[str, Any], rows: Tensor, generator: torch.Generator) -> Tensor:
        """(B, D) float32: a random view of each sample."""
        if self.views is None:
            options: dict[str, Any] = {"device": generator.device, "generator": generator}
            draws = draw_rows(lambda count: torch.rand(count, NUM_DRAWS, **options), len(rows)).cpu()
            is_plain = torch.zeros(len(rows), dtype=torch.bool)
        else:
            choice = _choose(self.views.shape[1], len(rows), generator).cpu()
            draws, is_plain = self.views[rows, choice], choice == 0
        return _subtract(encode_views(self.teacher, batch["image"], draws, is_plain), self.mean)


class LiveText:
    """Has the teacher read the name of each sample in a random template.

    Args:
        teacher: reads text; on the device.
        names: of all samples.
        num_prompts: draw among this many templates; None: all.
        is_centered: subtract a mean: that of up to `MEAN_OVER` names, evenly spread over the data set, the templates
            taking turns.
        progress: wraps the pass over these.
    """

    def __init__(
        self, teacher: Teacher, names: Sequence[str], num_prompts: int | None, is_centered: bool, progress: Progress
    ) -> None:
        self.teacher, self.dim = teacher, teacher.dim
        # In the order in which a cache has them.
        self.templates = spread_templates(len(TEMPLATES))[:num_prompts]
        self.mean = None
        if is_centered:
            rows = _evenly(len(names))
            sentences = self._prompts([names[row] for row in rows.tolist()], torch.arange(len(rows)))
            parts = [sentences[start : start + _BATCH_SIZE] for start in range(0, len(sentences), _BATCH_SIZE)]
            self.mean = torch.cat([teacher.encode_text(part) for part in progress(parts, "mean prompt")]).mean(dim=0)

    def draw(self, batch: Mapping[str, Any], rows: Tensor, generator: torch.Generator) -> Tensor:
        """(B, D) float32: a random prompt of each sample's name."""
        choice = _choose(len(self.templates), len(rows), generator)
        return _subtract(self.teacher.encode_text(self._prompts(batch["text"], choice)), self.mean)

    def _prompts(self, names: Sequence[str], choice: Tensor) -> list[str]:
        count = len(self.templates)
        pairs = zip(names, choice.tolist(), strict=True)
        return [prompts_for(name, [self.templates[number % count]])[0] for name, number in pairs]


def _choose(count: int, num_rows: int, generator: torch.Generator, draws: int = 1) -> Tensor:
    """(B,) numbers below `count`, or (B, R) of which those of a row differ."""
    options: dict[str, Any] = {"device": generator.device, "generator": generator}
    if draws > 1:
        noise = draw_rows(lambda rows: torch.rand(rows, count, **options), num_rows)
        return noise.topk(min(draws, count), dim=1).indices
    return draw_rows(lambda rows: torch.randint(count, (rows,), **options), num_rows)


def _beside(rows: Tensor, choice: Tensor) -> Tensor:
    """Rows (B,) in as many axes as a choice (B,) or (B, R)."""
    return rows.unsqueeze(1) if choice.dim() == 2 else rows


def _subtract(features: Tensor, mean: Tensor | None) -> Tensor:
    return features if mean is None else features - mean


def _evenly(count: int) -> Tensor:
    """Up to `MEAN_OVER` rows of `count`, evenly spread."""
    return torch.linspace(0, count - 1, min(count, MEAN_OVER)).round().long()
