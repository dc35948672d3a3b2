"""Compares what is read of a folder in OpenShape's layout with what the published loaders read of it.

tests/fixtures/openshape_mini/README.md says what such a folder holds.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pointrecon.datasets.open.class_lists import records
from pointrecon.datasets.open.clouds import find_object_root, inner_path, read_object
from pointrecon.datasets.open.objects import KINDS, OpenObject, parse_object
from pointrecon.datasets.open.zero_shot import LVIS, MODELNET, SCAN, find_zero_shot_sets
from pointrecon.models.open.recipes import Recipe
from pointrecon.tools.checkpoints.parity import Comparison
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import read_json

SETS = {"lvis": LVIS, "modelnet40": MODELNET, "scanobjectnn": SCAN}
DROPPED = "N"  # the flag of names that say nothing


def is_file_fixture(folder: str | Path) -> bool:
    """Whether a folder has an expected.json beside OpenShape's `meta_data`."""
    folder = Path(folder)
    return (folder / "expected.json").is_file() and (folder / "meta_data").is_dir()


def compare_files(folder: str | Path) -> tuple[list[Comparison], list[str]]:
    """Views and texts of every object, classes, labels, points and colours of every test set.

    Returns:
        The comparisons (0: equal, infinite: not), and nothing that is left.

    Raises:
        InputError: A file is missing or damaged, or the folder holds nothing to compare.
    """
    folder = Path(folder)
    expected = read_json(folder / "expected.json")
    if not isinstance(expected, dict):
        raise InputError(f"'{folder / 'expected.json'}' is no dict of results")
    done = [*_compare_objects(folder, expected.get("objects") or []), *_compare_sets(folder, expected)]
    if not done:
        raise InputError(f"'{folder / 'expected.json'}' holds nothing to compare (objects, {', '.join(SETS)})")
    return done, []


def _compare_objects(folder: Path, expected: list[dict[str, Any]]) -> Iterator[Comparison]:
    if not expected:
        return
    meta = folder / "meta_data"
    listed = records(meta / "split" / "train_all.json", ("id", "data_path"))
    rows = {str(row["id"]): inner_path(row["data_path"]) for row in listed}
    flags = read_json(meta / "gpt4_filtering.json")
    root = find_object_root(meta, list(rows.values()))
    for wanted in expected:
        name = wanted["id"]
        if root is None or name not in rows:
            raise InputError(f"the object '{name}' of '{folder / 'expected.json'}' is not in the lists or not there")
        one = parse_object(read_object(root / rows[name]), f"'{root / rows[name]}'")
        counts = text_counts(one, flags.get(name, {}).get("flag") == DROPPED)
        yield _same(f"{name}.dataset", one.dataset, wanted["dataset"])
        yield _same(f"{name}.views", len(one.views), wanted["views"])
        yield _same(f"{name}.published_text_rows", counts, wanted["published_text_rows"])
        yield _same(f"{name}.openshape_has_text", sorted({count > 0 for count in counts}), wanted["openshape_has_text"])


def text_counts(one: OpenObject, is_dropped: bool) -> list[int]:
    """How many texts ReCon++'s published loader may draw of an object, sorted.

    A name unless it is flagged, which Objaverse's alone are; with even odds the one caption or the other, if it is not
    empty; a retrieved caption, if there is one.
    """
    has = {kind: bool((one.kinds == place).any()) for place, kind in enumerate(KINDS)}
    fixed = int(has["name"] and not (is_dropped and one.dataset == "Objaverse")) + int(has["retrieval"])
    return sorted({fixed + int(has["blip"]), fixed + int(has["msft"])})


def _compare_sets(folder: Path, expected: dict[str, Any]) -> Iterator[Comparison]:
    wanted = {SETS[key]: (key, expected[key]) for key in SETS if key in expected}
    for one in find_zero_shot_sets(folder) if wanted else []:
        if one.name not in wanted:
            continue
        key, values = wanted[one.name]
        points, colors = one.read(0)
        found: dict[str, Any] = {
            "classes": list(one.class_names),
            "labels": one.labels.tolist(),
            "names": list(one.ids),
        }
        found |= {"points": len(points), "rgb": Recipe().fill if colors is None else round(float(colors[0, 0]), 5)}
        for name, value in values.items():
            if name in found:
                yield _same(f"{key}.{name}", found[name], value)


def _same(name: str, ours: Any, expected: Any) -> Comparison:
    return Comparison(name, 0.0 if ours == expected else float("inf"), 1e-5)
