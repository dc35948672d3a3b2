"""OpenShape's training objects: coloured clouds with the features of up to 13 views and up to 3 texts, out of shards.

Shape legend: n objects, N points, E feature width.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pointrecon.datasets import DATASETS
from pointrecon.datasets.dataset import UNLABELLED, PointCloudDataset
from pointrecon.datasets.open.lists import find_rows, flagged, listed_keys
from pointrecon.datasets.open.neighbours import open_neighbours, with_neighbours
from pointrecon.datasets.open.objects import CHOICES, NUM_TEXTS, NUM_VIEWS, choose_texts
from pointrecon.datasets.open.shard_file import REMEDY
from pointrecon.datasets.open.shards import MANIFEST, OpenShards
from pointrecon.datasets.open.survey import survey_open
from pointrecon.datasets.sample import CarriedInfo, Sample
from pointrecon.datasets.shards.order import epoch_order
from pointrecon.datasets.survey import Survey
from pointrecon.utils.errors import InputError, check_choice

LEVELS = 255
_INFO = {"teacher.type": "OpenShape"}  # where the features come from
log = logging.getLogger("recon")


@DATASETS.register()
class OpenShape(PointCloudDataset):
    """What scripts/convert_openshape.py has made, cut to one of OpenShape's lists. The objects have no labels.

    Args:
        root: The data root.
        shards: Folder of the shards in it.
        meta_data: Folder of OpenShape's lists and flags in it.
        objects: Name of a list under `split` there, such as `train_all` or `ablation/train_shapenet_only`, or a file of
            that kind (.json); None: all objects of the shards, those of Objaverse-LVIS too.
        captions: How texts are chosen, see `choose_texts`.
        gpt4_filter: Leave out the names that OpenShape's `gpt4_filtering.json` flags.
        neighbours: This many of each object's nearest neighbours, drawn anew in each epoch, follow it in the same batch
            in the place of others: hard negatives; 0: none. An object may then come twice in an epoch, or not at all.
        color_fill: Each colour of objects that have none, 0..1.
        num_points: N, the first stored ones; None: as many as most objects have.
        num_lanes: Read side by side; see `datasets.shards.order.epoch_order`.
        buffer: Of the shuffling, samples a lane.
        on_error: `skip`: leave out objects of the list that are in no shard or have fewer points, and count them.

    Raises:
        InputError: The shards, the list or the neighbours are not there, damaged or of other objects, or an option is
            out of range.
    """

    published_splits = ("train",)
    is_uniform = True

    def __init__(
        self,
        root: str,
        *,
        shards: str = "openshape/shards",
        meta_data: str = "openshape/meta_data",
        objects: str | None = "train_no_lvis",
        captions: str = "drawn",
        gpt4_filter: bool = True,
        neighbours: int = 0,
        color_fill: float = 0.4,
        num_points: int | None = None,
        num_lanes: int = 48,
        buffer: int = 1000,
        on_error: str = "raise",
    ) -> None:
        check_choice("data.options.captions", captions, CHOICES)
        if num_lanes < 1 or buffer < 1 or neighbours < 0 or not 0 <= color_fill <= 1:
            raise InputError(
                f"data.options.num_lanes is {num_lanes}, buffer {buffer}, neighbours {neighbours} and color_fill "
                f"{color_fill}, but these must be at least 1, 1 and 0, and in 0..1"
            )
        super().__init__(ids=())
        self.shards, self._meta = OpenShards(Path(root) / shards), Path(root) / meta_data
        self.captions, self.num_lanes, self.buffer, self.neighbours = captions, num_lanes, buffer, neighbours
        rows = np.arange(len(self.shards)) if objects is None else self._listed(objects, on_error == "skip")
        self._rows = self._long_enough(rows, num_points, on_error == "skip")
        self._fill = torch.full((self.num_points, 3), round(LEVELS * color_fill), dtype=torch.uint8)
        self._is_flagged = self._flags() if gpt4_filter else None
        self._near = open_neighbours(self.shards) if neighbours else None
        self.carried = {
            kind: CarriedInfo(count=count, dim=self.shards.width, mean=self._mean(kind), info=_INFO, is_padded=True)
            for kind, count in (("image", NUM_VIEWS), ("text", NUM_TEXTS))
        }

    def read(self, row: int) -> Sample:
        points, colors = self.shards.cloud(row)
        features = torch.zeros(NUM_TEXTS, self.shards.width, dtype=torch.float16)
        kinds, texts = self.shards.texts(row)
        key = self.shards.keys[row].decode()
        is_flagged = self._is_flagged is not None and bool(self._is_flagged[row])
        chosen = choose_texts(kinds, self.captions, is_objaverse=key.startswith("Objaverse/"), is_flagged=is_flagged)
        for place, text in enumerate(chosen):
            if text is not None:
                features[place] = torch.from_numpy(texts[text])
        return Sample(
            points=torch.from_numpy(points[: self.num_points]),
            colors=torch.from_numpy(colors[: self.num_points]) if self.shards.has_colors[row] else self._fill,
            label=UNLABELLED,
            text=next((self.shards.words(row, text) for text in chosen if text is not None), ""),
            image_features=torch.from_numpy(self.shards.views(row)),
            text_features=features,
            id=key,
        )

    def keep(self, rows: Sequence[int] | np.ndarray) -> None:
        picked = np.asarray(rows, dtype=np.int64)
        if not np.array_equal(picked, np.arange(len(self))):
            self._rows = np.asarray(self._rows)[picked]

    @property
    def ids(self) -> list[str]:
        """Keys of the objects: `Objaverse/000-000/0a1b`."""
        return [key.decode() for key in self.shards.keys[self._rows]]

    @property
    def names(self) -> list[str]:
        """The first text of each object, nothing where it has none; reads all shards."""
        has_text = ((int(row), len(self.shards.texts(int(row))[0])) for row in self._rows)
        return [self.shards.words(row, 0) if count else "" for row, count in has_text]

    @property
    def labels(self) -> Tensor:
        """(n,) -1: no object has a class."""
        return torch.full((len(self._rows),), UNLABELLED)

    @property
    def split_of(self) -> np.ndarray:
        """(n,) `train`: all objects are for training."""
        return np.full(len(self._rows), "train")

    @property
    def is_redrawn(self) -> bool:
        """Whether texts are drawn anew each time a sample is read."""
        return self.captions != "first"

    def epoch_order(self, seed: int, epoch: int) -> np.ndarray:
        """(n,) the order of a training epoch, near to that of the shards, with neighbours where they are asked for."""
        order = epoch_order(self.shards.counts, self.num_lanes, self.buffer, seed, epoch)
        place = np.full(len(order), -1)
        place[np.asarray(self._rows)] = np.arange(len(self._rows))
        order = place[order]
        order = order[order >= 0]
        if self._near is None:
            return order
        return with_neighbours(order, np.asarray(self._rows), place, self._near, self.neighbours, seed, epoch)

    @staticmethod
    def survey(root: str) -> list[Survey]:
        """Says what of the shards, of OpenShape's distribution and of the test sets of others is there."""
        return survey_open(root)

    def _listed(self, name: str, skips: bool) -> np.ndarray:
        """(n,) rows of the objects of a list, in the order of the shards."""
        path = Path(name) if name.endswith(".json") else self._meta / "split" / f"{name}.json"
        wanted = np.unique(listed_keys(path))
        rows = find_rows(self.shards.keys, wanted)
        missing = wanted[rows < 0]
        if len(missing) == len(wanted) or (len(missing) and not skips):
            raise InputError(
                f"{len(missing):,} of the {len(wanted):,} objects of '{path}' are in none of the shards of "
                f"'{self.shards.folder}', first '{missing[0].decode()}'; convert their files too, or leave them out "
                "with data.on_error=skip"
            )
        if len(missing):
            first = missing[0].decode()
            log.warning(
                "left out: %s objects of '%s' that are in no shard, first '%s'", f"{len(missing):,}", path, first
            )
        self.num_skipped += len(missing)
        return np.sort(rows[rows >= 0])

    def _long_enough(self, rows: np.ndarray, num_points: int | None, skips: bool) -> np.ndarray:
        """Sets N, and returns the rows of objects that have as many points."""
        counts = self.shards.num_points[rows]
        self.num_points = int(np.bincount(counts).argmax()) if num_points is None else num_points
        is_short = counts < self.num_points
        if is_short.all() or (is_short.any() and not skips):
            first = rows[is_short][0]
            raise InputError(
                f"{int(is_short.sum()):,} objects of '{self.shards.folder}' have fewer than {self.num_points} points, "
                f"first '{self.shards.keys[first].decode()}' with {self.shards.num_points[first]}; give "
                "data.options.num_points, or leave them out with data.on_error=skip"
            )
        if is_short.any():
            log.warning("left out: %s objects with fewer than %s points", f"{int(is_short.sum()):,}", self.num_points)
        self.num_skipped += int(is_short.sum())
        return rows[~is_short]

    def _mean(self, kind: str) -> list[float]:
        """E numbers, as the converter has noted them."""
        means = self.shards.manifest.get("means")
        mean = means.get(kind) if isinstance(means, dict) else None
        if (
            not isinstance(mean, list)
            or [type(x) for x in mean] != [float] * self.shards.width
            or not all(np.isfinite(mean))
        ):
            raise InputError(f"'{self.shards.folder / MANIFEST}' has no mean of the {kind} features; {REMEDY}")
        return mean

    def _flags(self) -> np.ndarray:
        """(n,) bool of all objects of the shards: their own name says nothing."""
        path = self._meta / "gpt4_filtering.json"
        if not path.is_file():
            raise InputError(
                f"'{path}' is not there, which says what names are of use; unpack OpenShape's meta_data.zip, or set "
                "data.options.gpt4_filter=false"
            )
        ids = flagged(path)
        own = np.array([key.rpartition(b"/")[2] for key in self.shards.keys], dtype=np.bytes_)
        return np.isin(own, ids) & np.char.startswith(self.shards.keys, b"Objaverse/")
