"""ShapeNetPart in miniature, in the layout in which it is distributed: for runs that are killed, and for tests."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pointrecon.datasets.shapenetpart.files import CATEGORIES, FOLDER

NUM_STORED = 64
NUM_USED = 8  # categories


def write_parts(root: Path, counts: Mapping[str, int]) -> None:
    """Writes <root>/shapenetcore_partanno_segmentation_benchmark_v0_normal.

    Boxes whose parts are slices above each other, at heights of their own in each object: a network can learn them, and
    not at once.

    Args:
        root: Data root.
        counts: Objects in each of `datasets.shapenetpart_files.LISTS`.
    """
    folder, random = root / FOLDER, np.random.RandomState(0)
    (folder / "train_test_split").mkdir(parents=True)
    synsets = {name: f"{number:08d}" for number, name in enumerate(list(CATEGORIES)[:NUM_USED], start=1)}
    lines = [f"{name}\t{synset}\n" for name, synset in synsets.items()]
    (folder / "synsetoffset2category.txt").write_text("".join(lines), encoding="utf-8")
    for synset in synsets.values():
        (folder / synset).mkdir()
    for split, count in counts.items():
        entries = []
        for number in range(count):
            name = list(synsets)[number % NUM_USED]
            key = f"{synsets[name]}/{split}{number}"
            np.savetxt(folder / f"{key}.txt", _draw(name, random), fmt="%.6f")
            entries.append(f"shape_data/{key}")
        path = folder / "train_test_split" / f"shuffled_{split}_file_list.json"
        path.write_text(json.dumps(entries), encoding="utf-8")


def _draw(name: str, random: np.random.RandomState) -> np.ndarray:
    """(NUM_STORED, 7): a box of a category, its points with normals and parts."""
    parts = CATEGORIES[name]
    points = random.uniform(-1, 1, (NUM_STORED, 3)) * random.uniform(0.3, 1, 3)
    low, high = points[:, 1].min(), points[:, 1].max()
    borders = np.sort(random.uniform(low, high, len(parts) - 1))
    part = parts[0] + np.searchsorted(borders, points[:, 1])
    normals = np.broadcast_to([0.0, 1.0, 0.0], points.shape)
    return np.concatenate([points, normals, part[:, None]], axis=1)
