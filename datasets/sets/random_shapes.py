"""Stand-in shapes of any number and size, for measuring speed where no data set is at hand. Nothing can be learnt."""

from pathlib import Path

import torch

from pointrecon.datasets import DATASETS
from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.sample import Sample
from pointrecon.utils.errors import InputError
from pointrecon.utils.seed import generator

_MAX_BYTES = 64 << 30


@DATASETS.register()
class RandomShapes(PointCloudDataset):
    """Ellipsoids with random axes.

    Args:
        root: Not read.
        split: Any; each draws other shapes.
        num_shapes: Shapes a split.
        num_stored: Points a shape.
        num_classes: Labels are drawn from these; a name says its class.
        seed: Draws the shapes.
        images: Also give a picture, one colour all over.
        image_size: Its side.

    Attributes:
        points: (num_shapes, num_stored, 3) float32, in the unit sphere.
    """

    is_uniform = True

    def __init__(
        self,
        root: str,
        split: str = "train",
        *,
        num_shapes: int = 512,
        num_stored: int = 1024,
        num_classes: int = 10,
        seed: int = 0,
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
        labels = torch.randint(num_classes, (num_shapes,), generator=draw)
        self.colors = torch.rand(num_shapes, 3, 1, 1, generator=draw)
        super().__init__(
            ids=[f"{split}-{row}" for row in range(num_shapes)],
            labels=labels,
            class_names=[f"class {label}" for label in range(num_classes)],
        )
        self.image_size = image_size if images else None
        self.features_path = Path(root) / "RandomShapes" / "teachers.h5"

    def read(self, row: int) -> Sample:
        sample = self.sample(row, self.points[row])
        if self.image_size:
            sample["image"] = self.colors[row].expand(-1, self.image_size, self.image_size)
        return sample
