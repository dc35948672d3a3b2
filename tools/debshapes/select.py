"""Which of the shapes that were made stay in the data set, and why the others do not.

Shape legend: n shapes, M points per shape.
"""

import dataclasses
import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pointrecon.datasets.meshes.duplicates import NUM_POINTS, find_duplicates, limit_families
from pointrecon.datasets.sets.sweethome3d import SweetHome3D
from pointrecon.datasets.splits import Choice, pick
from pointrecon.extensions import ops
from pointrecon.tools.debshapes.shape import read_shape
from pointrecon.tools.debshapes.sources.sources import Item
from pointrecon.tools.debshapes.sources.text import family_of, text_of
from pointrecon.utils.errors import InputError, check_choice
from pointrecon.utils.log import progress_bar

LEAVE_OUT = ("labelled", "all", "none")
NUM_GIVEN = 512  # bundled shapes have 2048 points as they were drawn; only a part of these is evenly spread

VERSIONS = (1, 2)
# Version 2 leaves out what a game never draws, and what stands for a place or a limit.
NO_OBJECT = re.compile(
    r"invis(?!$)|collision|hit_?box|physic|nodraw|no_draw|checkline|check_line|trigger|driveline|navmesh|bounding_?box"
    r"|terrain|rail_road_barrier|distord|refraction|water_ref|dynamicsky|limi_bound|(^|_)bound(s|ary|aries)$|_col$"
    r"|^reset|^ground\d?$|^davis$"  # of races that start again there; a flying field
    r"|(^|[_\-. ])(limits?(?!_LOD)|null|dummy|empty|occluder|barrier_?limit)([_\-. 0-9]|$)",
    re.IGNORECASE,
)
EXEMPT = ("0ad", "dart", "kicad", "sweethome3d", "ufoai")  # picked by name, or no scenes of a game

_NUMBER = re.compile(r"\s*\d")

log = logging.getLogger("recon")


@dataclass(frozen=True)
class Rules:
    """Which shapes stay.

    Attributes:
        leave_out: Objects of the bundled set that must not be there, nor what looks like them: `labelled` (those that
            any fold tests on), `all`, or `none`.
        per_family: Largest number of shapes whose names differ in numbers only.
        data_root: Where the bundled set is.
        version: 1, as first published, or 2: without `NO_OBJECT`, and at most `per_kind` shapes a source and kind.
        per_kind: Largest number of shapes of one source whose texts are the same up to their first number, as those of
            pin headers of all lengths; of no meaning for version 1.
    """

    leave_out: str = "labelled"
    per_family: int = 64
    data_root: Path = Path("data")
    version: int = 2
    per_kind: int = 96

    def __post_init__(self) -> None:
        check_choice("leave_out", self.leave_out, LEAVE_OUT)
        for name in ("per_family", "per_kind"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, but must be at least 1")
        if self.version not in VERSIONS:
            raise InputError(f"version is {self.version}, but must be one of {', '.join(map(str, VERSIONS))}")

    def describe(self) -> dict[str, Any]:
        """What the choice depends on; of version 1 as it was written then."""
        rules = dataclasses.asdict(self)
        del rules["data_root"]
        return {key: rules[key] for key in ("leave_out", "per_family")} if self.version == 1 else rules


def select(items: Sequence[Item], files: Sequence[Path], rules: Rules) -> tuple[list[Item], dict[str, Counter]]:
    """Leaves out what the bundled set tests on, what is there twice, and more of a family than is wanted.

    Args:
        items: n, sorted by id; of equal shapes the first is kept.
        files: Their shapes.
        rules: See there.

    Returns:
        The items that stay, in their order, and for each source how many others there were by cause.
    """
    counts: dict[str, Counter] = {}

    def leave_out(rows: Sequence[int], cause: str) -> None:
        for row in rows:
            counts.setdefault(items[row].source, Counter())[cause] += 1

    given_ids, given = _bundled(rules)
    tested = [row for row, item in enumerate(items) if item.key and item.key in given_ids]
    leave_out(tested, "in the bundled set")
    rows = sorted(set(range(len(items))) - set(tested))
    if not rows:
        return [], counts
    points = np.stack([read_shape(files[row]).points[:NUM_POINTS] for row in progress_bar(rows, "reading shapes")])
    is_tested = _like(points, given)
    leave_out([row for row, flag in zip(rows, is_tested, strict=True) if flag], "like a bundled one")
    rows, points = [row for row, flag in zip(rows, is_tested, strict=True) if not flag], points[~is_tested]
    is_repeated = find_duplicates(points) >= 0 if rows else np.empty(0, dtype=bool)
    leave_out([row for row, flag in zip(rows, is_repeated, strict=True) if flag], "duplicate")
    rows = [row for row, flag in zip(rows, is_repeated, strict=True) if not flag]
    families = [family_of(item) for item in items]
    kept = limit_families(families, [item.path for item in items], rows, rules.per_family)
    leave_out(sorted(set(rows) - set(kept)), "large family")
    if rules.version > 1:
        drawn = [row for row in kept if not _is_no_object(items[row])]
        leave_out(sorted(set(kept) - set(drawn)), "no object")
        kinds = [f"{item.source}:{_NUMBER.split(text_of(item))[0]}" for item in items]
        kept = limit_families(kinds, [item.path for item in items], drawn, rules.per_kind)
        leave_out(sorted(set(drawn) - set(kept)), "frequent text")
    return [items[row] for row in kept], counts


def _is_no_object(item: Item) -> bool:
    return item.source not in EXEMPT and NO_OBJECT.search(item.name) is not None


def _like(points: np.ndarray, given: np.ndarray) -> np.ndarray:
    """(n,) bool: which shapes are like a given one, by fewer points than among themselves."""
    if not len(given):
        return np.zeros(len(points), dtype=bool)
    together = np.concatenate([given[:, :NUM_GIVEN], points[:, :NUM_GIVEN]])
    return find_duplicates(together, len(given), only_given=True)[len(given) :] >= 0


def _bundled(rules: Rules) -> tuple[set[str], np.ndarray]:
    """Returns ids and (n, M, 3) points, farthest first, of the bundled objects that must not be in the data set."""
    if rules.leave_out == "none":
        return set(), np.empty((0, NUM_GIVEN, 3), np.float16)
    bundled = SweetHome3D(str(rules.data_root))
    bundled.keep(np.concatenate([pick(bundled, Choice(split=split)) for split in ("pretrain", "test")]))
    if rules.leave_out == "labelled":
        bundled.keep(np.flatnonzero(bundled.labels.numpy() >= 0))
    points, ids = bundled.points, bundled.ids
    ordered = [ops.gather(part, ops.fps(part, NUM_GIVEN)) for part in points.split(8)]
    return set(ids), torch.cat(ordered).numpy().astype(np.float16)
