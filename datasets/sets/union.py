"""Several data sets as one, for pretraining on all of them together.

Shape legend: n objects, N points, V views, P prompts, D feature width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pointrecon.datasets import DATASETS
from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.opening import open_split
from pointrecon.datasets.sample import CarriedInfo, Sample
from pointrecon.datasets.splits import Choice
from pointrecon.datasets.teacher_cache.reader import FeatureCache
from pointrecon.utils.errors import InputError

KINDS = ("image", "text")


@dataclass(frozen=True)
class _Table:
    features: Tensor  # (U, V or P, D)
    rows: Tensor  # (n,) which of the U an object has


@DATASETS.register()
class Union(PointCloudDataset):
    """The pretraining splits of several data sets, each with its own teacher cache.

    Classes are left out: two data sets seldom mean the same by a name. The features of the teachers come with the
    samples; the caches must have been made by the same teachers.

    Args:
        root: The data root.
        parts: For each data set its `type`, and optionally `fold`, `repeat` (how often its objects are there in an
            epoch) and `options` for its constructor.
        split: Of every part; `pretrain` or `test`.
        num_points: N, the first stored points of each cloud.
        num_views: V, the first views of each picture.
        num_prompts: P, the first prompts of each name.
        teachers: Which features to carry.
        colors: Also give `colors` (N, 3) in 0..1, of parts that have them.
        color_fill: Each colour where a part has none.

    Raises:
        InputError: A part cannot be opened, has smaller clouds, fewer views or prompts, or other teachers.
    """

    may_pick = False
    is_uniform = True
    published_splits = ("pretrain", "test")

    def __init__(
        self,
        root: str,
        split: str = "pretrain",
        *,
        parts: Sequence[Mapping[str, Any]] = (),
        num_points: int = 2048,
        num_views: int = 4,
        num_prompts: int = 20,
        teachers: Sequence[str] = KINDS,
        colors: bool = False,
        color_fill: float = 0.4,
    ) -> None:
        if not parts:
            raise InputError("data.options.parts is empty; name data sets: [{type: DebShapes}, {type: SweetHome3D}]")
        self.num_points = num_points
        self._gives_colors, self._fill = colors, color_fill
        self._parts = [_open(root, split, part, {"colors": colors, "color_fill": color_fill}) for part in parts]
        self.members = [
            ({"type": part["type"], "root": None, "options": part.get("options") or {}}, data.ids)
            for part, data in zip(parts, self._parts, strict=True)
        ]
        self._tables = {kind: [_table(data, kind, num_views, num_prompts) for data in self._parts] for kind in teachers}
        self.carried = {kind: _summary(kind, tables, self._parts) for kind, tables in self._tables.items()}
        repeats = [int(part.get("repeat", 1)) if split == "pretrain" else 1 for part in parts]
        self._places = [
            (number, row, time)
            for number, (data, repeat) in enumerate(zip(self._parts, repeats, strict=True))
            for time in range(repeat)
            for row in range(len(data))
        ]
        super().__init__(
            ids=[_name(self._parts[part].ids[row], time) for part, row, time in self._places],
            names=[self._parts[part].names[row] for part, row, _ in self._places],
        )
        self.is_fps_ordered = all(data.is_fps_ordered for data in self._parts)

    def read(self, row: int) -> Sample:
        """The first N points of an object, and its teachers' features."""
        number, place, _ = self._places[row]
        own = self._parts[number][place]
        points = own["points"]
        if len(points) < self.num_points:
            raise InputError(
                f"data.options.num_points is {self.num_points}, but '{self.ids[row]}' of "
                f"{type(self._parts[number]).__name__} has {len(points)} points"
            )
        sample = self.sample(row, points[: self.num_points])
        if self._gives_colors:
            found = own.get("colors")
            sample["colors"] = torch.full((self.num_points, 3), self._fill) if found is None else _as_floats(found)
            sample["colors"] = sample["colors"][: self.num_points]
        if "image" in self._tables:
            sample["image_features"] = self._features("image", number, place)
        if "text" in self._tables:
            sample["text_features"] = self._features("text", number, place)
        return sample

    def _features(self, kind: str, number: int, place: int) -> Tensor:
        table = self._tables[kind][number]
        return table.features[table.rows[place]].float()


def _as_floats(colors: Tensor) -> Tensor:
    return colors.float() / 255 if colors.dtype == torch.uint8 else colors


def _open(root: str, split: str, part: Mapping[str, Any], defaults: Mapping[str, Any]) -> PointCloudDataset:
    unknown = set(part) - {"type", "fold", "repeat", "options"}
    if unknown or "type" not in part:
        raise InputError(f"a part of data.options.parts is {dict(part)}, but takes type, fold, repeat and options")
    repeat = part.get("repeat", 1)
    if type(repeat) is not int or not 1 <= repeat <= 100:
        raise InputError(f"repeat is {repeat!r} in data.options.parts, but must be a whole number from 1 to 100")
    choice = Choice(split=split, fold=part.get("fold"))
    return open_split(part["type"], root, choice, part.get("options"), defaults=defaults)


def _table(data: PointCloudDataset, kind: str, num_views: int, num_prompts: int) -> _Table:
    if data.features_path is None:
        raise InputError(f"{type(data).__name__} has no teacher cache, so it cannot be a part with teachers")
    cache = FeatureCache(data.features_path)
    if kind == "image":
        return _Table(cache.image_table(data.ids, num_views).half(), torch.arange(len(data)))
    return _Table(*cache.name_table(data.ids, num_prompts))


def _summary(kind: str, tables: Sequence[_Table], parts: Sequence[PointCloudDataset]) -> CarriedInfo:
    notes = [FeatureCache(str(data.features_path)).info[kind] for data in parts]
    models = [(note.get("model"), note.get("pretrained")) for note in notes]
    if len(set(models)) > 1:
        listed = ", ".join(str(model) for model, _ in models)
        raise InputError(f"the {kind} features of the parts come from different teachers: {listed}")
    total = sum(len(table.rows) for table in tables)
    mean = torch.zeros(tables[0].features.shape[2], dtype=torch.float64)
    for table in tables:
        share = table.rows.bincount(minlength=len(table.features)).double() / total
        mean += (table.features.double().mean(dim=1) * share[:, None]).sum(dim=0)
    _, count, dim = tables[0].features.shape
    return CarriedInfo(count=count, dim=dim, mean=mean.tolist(), info=dict(notes[0]))


def _name(name: str, time: int) -> str:
    return name if time == 0 else f"{name}#{time}"
