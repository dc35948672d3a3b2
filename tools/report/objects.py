"""The objects that runs speak of, by their ids: what they are called, and their clouds."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.transforms import normalize_unit_sphere
from pointrecon.tools.build import build_dataset, eval_transform
from pointrecon.tools.report.page import Page, note
from pointrecon.tools.report.runs import Run
from pointrecon.utils.errors import InputError

NUM_POINTS = 700  # of a cloud that is there to be looked at
SPLITS = ("test", "train", "val")


class Objects:
    """The labelled objects of a run's data set, read when they are wanted.

    Args:
        config: the whole config of the run; {}: it has none.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config: Any = config
        self.problem: str | None = None
        self._datasets: dict[str, PointCloudDataset] | None = None
        self._places: dict[str, tuple[str, int]] = {}

    @property
    def datasets(self) -> dict[str, PointCloudDataset]:
        """The splits that could be opened, by name; `problem` says why one could not."""
        if self._datasets is None:
            self._datasets = {}
            for split in SPLITS if self.config else ():
                if split == "val" and self.config["select"] != "val":
                    continue
                try:
                    self._datasets[split] = build_dataset(self.config, split, shots=None)
                except (InputError, OSError) as error:
                    self.problem = self.problem or " ".join(str(error).split())
            for split, dataset in self._datasets.items():
                for row, key in enumerate(dataset.ids):
                    self._places.setdefault(key, (split, row))
        return self._datasets

    def name(self, key: str) -> str:
        """What an object is called; its id where nobody knows."""
        if not self.datasets or key not in self._places:
            return key
        split, row = self._places[key]
        return str(self.datasets[split].names[row]) or key

    def why_none(self) -> str:
        """A line for the page where there are no clouds."""
        if not self.config:
            return note("There are no clouds: the run has no config that says which data it used.")
        return "" if self.datasets else note(f"There are no clouds: {self.problem}")

    def pick(self, count: int) -> list[str]:
        """Ids spread evenly over the test split, or over what there is."""
        dataset = next(iter(self.datasets.values()), None)
        if dataset is None or not len(dataset):
            return []
        return [
            str(dataset.ids[row]) for row in sorted({*np.linspace(0, len(dataset) - 1, count).astype(int).tolist()})
        ]

    def points(self, keys: Sequence[str]) -> Tensor:
        """(n, N, 3) float32, as an evaluation hands them to the network.

        Raises:
            InputError: an object cannot be read.
        """
        clouds = []
        for key in keys:
            split, row = self._places[key]
            dataset = self.datasets[split]
            clouds.append(eval_transform(self.config["data"], dataset)(dataset[row]["points"][None])[0])
        return torch.stack(clouds)

    def add_clouds(self, page: Page, keys: Iterable[str]) -> dict[str, str]:
        """Puts clouds into the page; returns id -> key of the cloud, for those that could be read."""
        found = {}
        for key in dict.fromkeys(keys):
            if not self.datasets or key not in self._places:
                continue
            split, row = self._places[key]
            name = f"{self.config['data']['type']}:{key}"
            if name not in page.clouds:
                try:
                    points = self.datasets[split][row]["points"][:NUM_POINTS]
                except (InputError, OSError) as error:
                    self.problem = " ".join(str(error).split())
                    continue
                page.add_cloud(name, normalize_unit_sphere(points[None])[0].numpy())
            found[key] = name
        return found


def find_objects(runs: Sequence[Run]) -> dict[str, Objects]:
    """The objects of each run, by its name; runs on the same data share them."""
    known: dict[str, Objects] = {}
    found = {}
    for run in runs:
        config: Any = run.config
        key = ""
        if config:
            data = {
                name: value for name, value in run.flat.items() if name.startswith("data.") and "augment" not in name
            }
            data.pop("data.shots", None)
            key = repr((sorted(data.items(), key=str), config["data_root"], config["select"]))
        found[run.name] = known.setdefault(key, Objects(config))
    return found
