"""What evaluators see of a network: whole splits, embedded once however many ask for them.

Shape legend: B batch, N points, n objects, C channels.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Subset

from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.loader import eval_loader
from pointrecon.datasets.transforms import PointTransform, join_colors
from pointrecon.models.heads import check_finite, probe_feature
from pointrecon.tools.build import build_dataset, eval_transform
from pointrecon.tools.settings import DataSettings, Settings
from pointrecon.utils.processes import distributed


class Embedding(NamedTuple):
    """What the encoder makes of clouds, on the CPU."""

    feature: Tensor  # (n, 2C), what probes read: see `models.heads.probe_feature`
    projected: dict[str, Tensor]  # (n, D) by teacher: its query in its space; without the teachers it never had


class EmbeddedSplit(NamedTuple):
    """Every object of a split, in its order."""

    embedding: Embedding
    labels: Tensor  # (n,) int64
    ids: list[str]


Encode = Callable[[Tensor], Embedding]  # (B, n, 3) or, with colours, (B, n, 6), as the network takes them


def join(parts: Iterable[EmbeddedSplit]) -> EmbeddedSplit:
    """The objects of several splits after each other."""
    embeddings, labels, ids = zip(*parts, strict=True)
    features, projected = zip(*embeddings, strict=True)
    names = projected[0].keys()
    embedding = Embedding(torch.cat(features), {name: torch.cat([part[name] for part in projected]) for name in names})
    return EmbeddedSplit(embedding, torch.cat(labels), [key for part in ids for key in part])


def make_encode(model: nn.Module) -> Encode:
    """A function from clouds to embeddings on the CPU, in evaluation mode and without gradients.

    Args:
        model: has `encoder` and, if teachers have taught it, `project`; the mode that it is in is left as it was.
    """
    network: Any = model

    @torch.inference_mode()
    def encode(points: Tensor) -> Embedding:
        modes = {module: module.training for module in network.modules()}
        network.eval()
        try:
            queries, tokens = network.encoder.embed(points)
            projected = network.project(queries) if hasattr(network, "project") else {}
        finally:
            for module, mode in modes.items():
                module.training = mode
        feature = probe_feature(queries.float().cpu(), tokens.float().cpu())
        return Embedding(feature, {name: x.float().cpu() for name, x in projected.items()})

    return encode


class SplitStore:
    """The data sets that the evaluators of a run read, each built once."""

    def __init__(self) -> None:
        self._datasets: dict[str, PointCloudDataset] = {}

    def get(self, cfg: Settings, split: str, **options: Any) -> PointCloudDataset:
        """The data set of the section `data`; without `data.shots`, unless that is among the options.

        Raises:
            InputError: it cannot be read, or has no such split.
        """
        options = {"shots": None, **options}
        described = (cfg["data"], cfg["data_root"], cfg["seed"], cfg["select"], split, options)
        key = repr(_sorted(described))
        if key not in self._datasets:
            self._datasets[key] = build_dataset(cfg, split, **options)
        return self._datasets[key]


class SplitEncoder:
    """Embeds data sets with a network; what it has once embedded it remembers until the weights have moved.

    Several processes share the batches and tell each other what they found. A batch is the same whatever their number,
    so that the embeddings are too, to the last bit.

    Args:
        encode: embeds clouds.
        device: where the network is.
        batch_size: clouds in a forward pass.
        is_colored: the network takes colours: it is given those that a data set has.
    """

    def __init__(self, encode: Encode, *, device: torch.device, batch_size: int, is_colored: bool = False) -> None:
        self.encode, self.device, self.batch_size, self.is_colored = encode, device, batch_size, is_colored
        self._known: dict[Any, EmbeddedSplit] = {}
        self._kept: list[PointCloudDataset] = []  # an id() is that of one data set only as long as this is there

    def forget(self) -> None:
        """The weights have moved: everything is embedded anew."""
        self._known.clear()
        self._kept.clear()

    def embed(
        self, dataset: PointCloudDataset, data: DataSettings, *, rows: Sequence[int] | None = None
    ) -> EmbeddedSplit:
        """Objects of a data set. All processes must ask for the same.

        Args:
            dataset: the split.
            data: the section `data`, which says how clouds are cut and scaled.
            rows: which objects, in this order; None: all of them, in the order of the data set.
        """
        transform, rows = eval_transform(data, dataset), tuple(range(len(dataset)) if rows is None else rows)
        cut = (data["num_points"], data["eval_sampling"], data["normalize"], data["sample_pool"])
        key = (id(dataset), rows, cut)
        if key not in self._known:
            self._kept.append(dataset)
            self._known[key] = self._embed(dataset, transform, rows)
        return self._known[key]

    def _embed(self, dataset: PointCloudDataset, transform: PointTransform, rows: Sequence[int]) -> EmbeddedSplit:
        # Points that are drawn anew come from one stream of random numbers, so every process goes through all of them.
        is_shared = transform.sampling != "random"
        rank, world_size = (distributed.rank(), distributed.world_size()) if is_shared else (0, 1)
        starts = range(rank * self.batch_size, len(rows), world_size * self.batch_size)
        mine = [row for start in starts for row in rows[start : start + self.batch_size]]
        parts = []
        for batch in eval_loader(Subset(dataset, mine), self.batch_size):
            embedding = self.encode(transform(join_colors(batch, self.device, is_colored=self.is_colored)))
            parts.append(EmbeddedSplit(embedding, batch["label"], list(batch["id"])))
        embedded = join(distributed.gather_in_order(parts) if is_shared else parts)
        for values in (embedded.embedding.feature, *embedded.embedding.projected.values()):
            check_finite(values, "features")
        return embedded

    def embed_first(self, dataset: PointCloudDataset, data: DataSettings) -> EmbeddedSplit:
        """The first object alone, in this process alone: what there is to know of widths before training."""
        batch = next(iter(eval_loader(Subset(dataset, [0]), 1)))
        clouds = join_colors(batch, self.device, is_colored=self.is_colored)
        return EmbeddedSplit(self.encode(eval_transform(data, dataset)(clouds)), batch["label"], list(batch["id"]))


def _sorted(value: Any) -> Any:
    """Mappings as sorted pairs, all the way down, so that equal configs are written alike."""
    if isinstance(value, Mapping):
        return sorted((str(key), _sorted(item)) for key, item in value.items())
    return [_sorted(item) for item in value] if isinstance(value, (list, tuple)) else value
