"""Stand-in shapes of any number and size, for measuring speed where no data set is at hand. Nothing can be learnt."""

from pathlib import Path

import torch
from torch.utils.data import Dataset

from pointrecon.datasets import DATASETS
from pointrecon.datasets.sample import Sample
from pointrecon.utils.errors import InputError
from pointrecon.utils.seed import generator

_MAX_BYTES = 64 << 30


@DATASETS.register()
class RandomShapes(Dataset):
    """Ellipsoids with random axes.

    Args:
        root: Not read.
        split: Any; each draws other shapes.
        num_shapes: Shapes a split.
        num_stored: Points a shape.
        num_classes: Labels are drawn from these; a name says its class.
        seed: Draws the shapes.
        fold: Not read.
        shots: Not read.
        val_fraction: Not read.
        images: Also give a picture, one colour all over.
        image_size: Its side.

    Attributes:
        points: (num_shapes, num_stored, 3) float32, in the unit sphere.
        labels: (num_shapes,) int64.
        names: The name of each shape.
        ids: The key of each shape.
    """

    def __init__(
        self,
        root: str,
        split: str = "train",
        num_shapes: int = 512,
        num_stored: int = 1024,
        num_classes: int = 10,
        seed: int = 0,
        fold: int | None = None,
        shots: int | None = None,
        val_fraction: float = 0.0,
        images: bool = False,
        image_size: int = 224,
    ) -> None:
        for name, value in (("num_shapes", num_shapes), ("num_stored", num_stored), ("num_classes", num_classes)):
            if value < 1:
                raise InputError(f"data.options.{name} is {value}, but must be at least 1")
        if num_shapes * num_stored * 12 > _MAX_BYTES:
            raise InputError(
                f"{num_shapes} shapes of {num_stored} points need {num_shapes * num_stored * 12 / 1e9:.0f} GB; "
                "give a smaller data.options.num_shapes or num_stored"
            )
        draw = generator("cpu", seed * 1_000 + sum(split.encode()))
        points = torch.randn(num_shapes, num_stored, 3, generator=draw)
        axes = 0.2 + 0.8 * torch.rand(num_shapes, 1, 3, generator=draw)
        self.points = points / points.norm(dim=-1, keepdim=True) * axes
        self.labels = torch.randint(num_classes, (num_shapes,), generator=draw)
        self.colors = torch.rand(num_shapes, 3, 1, 1, generator=draw)
        self.class_names = [f"class {label}" for label in range(num_classes)]
        self.class_texts, self.num_classes = self.class_names, num_classes
        self.names = [self.class_names[label] for label in self.labels]
        self.ids = [f"{split}-{row}" for row in range(num_shapes)]
        self.image_size = image_size if images else None
        self.features_path = Path(root) / "RandomShapes" / "teachers.h5"

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        sample = Sample(
            points=self.points[index], label=int(self.labels[index]), text=self.names[index], id=self.ids[index]
        )
        if self.image_size:
            sample["image"] = self.colors[index].expand(-1, self.image_size, self.image_size)
        return sample
