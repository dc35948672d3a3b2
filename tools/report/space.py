"""The space of embeddings: a map on which each object can be looked at, and what lies nearest to some of them.

Shape legend: n objects, D width of an embedding, C classes.
"""

import csv
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointrecon.tools.report.classes import thumbnail
from pointrecon.tools.report.network import Network
from pointrecon.tools.report.objects import Objects
from pointrecon.tools.report.page import Page, note, percent, table, text
from pointrecon.tools.report.runs import Run
from pointrecon.tools.sweeps.summary import wilson
from pointrecon.tools.visualize import FIGURES, style
from pointrecon.tools.visualize.files import check_classes, read_arrays
from pointrecon.tools.visualize.tsne import SHAPES, choose_looks, embed_2d, find_medoid, place_names
from pointrecon.utils.errors import InputError

MAX_OBJECTS = 1000  # on a map
MAX_MAPS = 2  # of which one may have to be made anew
MAX_EMBEDDED = 400  # objects that no file holds the embeddings of
BUDGET = 4.0  # seconds for embedding those; what is not embedded by then is left out
NUM_QUERIES, NUM_NEIGHBOURS = 6, 5
SYMBOLS = dict(
    zip(
        style.MARKERS,
        ("circle", "triangle-up", "square", "diamond", "triangle-down", "cross", "x", "pentagon"),
        strict=True,
    )
)


@dataclass(frozen=True)
class Space:
    """Embedded objects.

    Attributes:
        ids: n keys.
        labels: (n,) int64, none of them negative.
        split: (n,) texts.
        embeddings: (n, D).
        class_names: C names.
        places: (n, 2) on the map.
        objects: where their clouds are.
    """

    ids: Sequence[str]
    labels: np.ndarray
    split: np.ndarray
    embeddings: np.ndarray
    class_names: Sequence[str]
    places: np.ndarray
    objects: Objects


def add_spaces(page: Page, runs: Sequence[Run], objects: Mapping[str, Objects], networks: Sequence[Network]) -> None:
    """The sections of maps and of retrieval."""
    sources = [(run, path) for run in runs for path in run.files("embeddings*.npz")]
    sources.sort(key=lambda source: _drawn(source[1]) is None)
    num_drawn = sum(_drawn(path) is not None for _, path in sources)
    most = min(MAX_MAPS, num_drawn + 1)
    maps: dict[str, str] = {}
    found: dict[str, str] = {}
    notes = []
    for run, path in sources[:most]:
        name = run.name if path.stem == "embeddings" else f"{run.name}, {path.stem.partition('-')[2]}"
        try:
            space = read_space(path, objects[run.name])
        except InputError as error:
            notes.append(note(str(error)))
            continue
        maps[name], found[name] = _map(page, f"map-{len(maps)}", space), _retrieval(page, space)
    if len(sources) > most:
        notes.append(note(f"Files of embeddings that are left out: {len(sources) - most}."))
    for network in [] if sources else networks[:1]:
        try:
            embedded = embed_objects(network)
        except InputError as error:
            notes.append(note(str(error)))
            continue
        if embedded is not None:
            maps[network.name] = _map(page, "map-0", embedded)
            found[network.name] = _retrieval(page, embedded)
    none = note("There are no embeddings: no run has embeddings.npz, or a network with labelled objects to embed.")
    page.add("map", "Map of embeddings", (page.panels("map", "Embeddings of", maps) if maps else none) + "".join(notes))
    page.add("retrieval", "Retrieval", page.panels("retrieval", "Embeddings of", found) if found else none)


def read_space(path: Path, objects: Objects) -> Space:
    """Reads embeddings.npz, and the map that has been drawn of it if it is no older.

    Raises:
        InputError: the file is broken, or holds fewer than 4 labelled objects.
    """
    data = read_arrays(path, SHAPES)
    names = [str(name).replace("_", " ") for name in data["class_names"]]
    check_classes(path, len(names), labels=data["labels"])
    drawn = _drawn(path)
    places = {} if drawn is None else _read_places(drawn)
    return _make_space(
        [str(key) for key in data["ids"]],
        data["labels"].astype(np.int64),
        data["split"],
        data["embeddings"],
        names,
        objects,
        places,
    )


def _drawn(path: Path) -> Path | None:
    """The map that the static pictures have left of a file of embeddings, if it is no older."""
    drawn = path.parent / FIGURES / f"tsne{path.stem.removeprefix('embeddings')}.csv"
    return drawn if drawn.is_file() and drawn.stat().st_mtime >= path.stat().st_mtime else None


def embed_objects(network: Network, seconds: float = BUDGET) -> Space | None:
    """Embeds labelled objects of a network's data set, as many as the time allows; None if those are too few."""
    import torch

    from pointrecon.models.heads import probe_feature

    objects = network.objects
    rows = [
        (str(key), int(label), split)
        for split, dataset in objects.datasets.items()
        for key, label in zip(dataset.ids, dataset.labels.tolist(), strict=True)
        if label >= 0
    ]
    order = np.random.RandomState(0).permutation(len(rows))[:MAX_EMBEDDED]  # the first ones are of all classes
    parts, start, end = [], 0, time.monotonic() + seconds
    with torch.inference_mode():
        while start < len(order) and (start < 32 or time.monotonic() < end):
            points = objects.points([rows[row][0] for row in order[start : start + 32]])
            queries, tokens = network.encoder.embed(points)
            parts.append(probe_feature(queries.float(), tokens.float()).numpy())
            start += 32
    if len(order) < 4:
        return None
    ids, labels, split = zip(*(rows[row] for row in order[:start]), strict=True)
    classes = [str(name).replace("_", " ") for name in next(iter(objects.datasets.values())).class_names]
    return _make_space(ids, np.array(labels), np.array(split), np.concatenate(parts), classes, objects, {})


def _make_space(
    ids: Sequence[str],
    labels: np.ndarray,
    split: np.ndarray,
    embeddings: np.ndarray,
    class_names: Sequence[str],
    objects: Objects,
    places: Mapping[str, tuple[float, float]],
) -> Space:
    rows = np.arange(len(ids))
    if len(rows) > MAX_OBJECTS:
        rows = np.sort(np.random.RandomState(0).permutation(len(ids))[:MAX_OBJECTS])
    if len(rows) < 4 or embeddings.shape[1] < 2:
        raise InputError(f"there are {len(rows)} embeddings of width {embeddings.shape[1]}; a map needs 4 of width 2")
    ids = [ids[row] for row in rows.tolist()]
    labels, split, embeddings = labels[rows], split[rows], embeddings[rows]
    is_known = all(key in places for key in ids)
    found = np.array([places[key] for key in ids]) if is_known else embed_2d(embeddings)
    return Space(ids, labels, split, embeddings, class_names, found, objects)


def _read_places(path: Path) -> dict[str, tuple[float, float]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {row["id"]: (float(row["x"]), float(row["y"])) for row in csv.DictReader(file)}
    except (OSError, KeyError, TypeError, ValueError):  # somebody's own table: the map is made anew
        return {}


def _map(page: Page, key: str, space: Space) -> str:
    present = np.unique(space.labels).tolist()
    anchors = np.stack([find_medoid(space.places[space.labels == label]) for label in present])
    looks = dict(zip(present, choose_looks(anchors), strict=True))
    clouds = space.objects.add_clouds(page, space.ids)
    traces, options = [], []
    entries: list[dict[str, Any]] = []
    for label in present:
        rows = np.flatnonzero(space.labels == label).tolist()
        hue, marker = looks[label]
        name = space.class_names[label]
        words = [f"{space.objects.name(space.ids[row])}: {name} ({space.split[row]})" for row in rows]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": _short(space.places[rows, 0]),
                "y": _short(space.places[rows, 1]),
                "text": [text(line) for line in words],
                "customdata": list(range(len(entries), len(entries) + len(rows))),
                "marker": {"color": f"@{style.HUES.index(hue)}", "symbol": SYMBOLS[marker], "size": 9, "opacity": 0.8},
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
        choices = "".join(
            f'<option value="{len(entries) + place}">{text(line.rpartition(":")[0])}</option>'
            for place, line in enumerate(words)
        )
        options.append(f'<optgroup label="{text(name)}">{choices}</optgroup>')
        entries += [{"name": line, "cloud": clouds.get(space.ids[row])} for line, row in zip(words, rows, strict=True)]
    titles = [space.class_names[label] for label in present]
    names, narrow = (_name_classes(titles, anchors, space.places, width) for width in (840, 370))
    bare = {"visible": False, "automargin": False}
    layout = {
        "height": 560,
        "showlegend": False,
        "hovermode": "closest",
        "annotations": names,
        "dragmode": "pan",
        "margin": {"l": 4, "r": 4, "t": 4, "b": 4},
        "xaxis": bare,
        "yaxis": {**bare, "scaleanchor": "x"},
    }
    page.data.setdefault("maps", {})[key] = entries
    label = f"{len(space.ids)} objects by their embeddings (t-SNE of {space.embeddings.shape[1]} dimensions); "
    label += "each class has a colour and a shape of its own"
    layout["narrow"] = {"annotations": narrow}
    counts = [(space.class_names[label], int((space.labels == label).sum())) for label in present]
    chart = page.figure(key, traces, layout, label, table(("class", "objects"), counts, "Objects on the map"))
    side = (
        f'<div class="picked"><label class="choice">Object <select class="object" data-map="{key}">{"".join(options)}'
        f'</select></label><canvas class="cloud" tabindex="0" role="img" data-map="{key}" aria-label=""></canvas>'
        f'<p class="said" aria-live="polite" data-map="{key}"></p>'
        f"{note('Click an object on the map, or choose it above; drag to turn it.')}{space.objects.why_none()}</div>"
    )
    return f'<div class="map">{chart}{side}</div>'


def _name_classes(names: Sequence[str], anchors: np.ndarray, places: np.ndarray, width: int) -> list[dict[str, Any]]:
    """Names of classes on a chart so many pixels wide, near their anchors (C, 2) and none over another."""
    low = places.min(axis=0)
    scale = min(np.array([width - 20, min(540, width)]) / np.maximum(places.max(axis=0) - low, 1e-9))
    size = 11 if width > 500 else 9
    sizes = np.array([(0.64 * size * len(name) + 6, 1.6 * size) for name in names])
    pixels = (places - low) * scale
    centers = place_names((anchors - low) * scale, sizes, pixels, np.zeros(2), pixels.max(axis=0)) / scale + low
    look = {"showarrow": False, "bgcolor": "@paper/0.6", "borderpad": 1, "font": {"size": size, "color": "@ink"}}
    return [
        {"x": round(float(x), 3), "y": round(float(y), 3), "text": text(name), "captureevents": False, **look}
        for (x, y), name in zip(centers, names, strict=True)
    ]


def _retrieval(page: Page, space: Space) -> str:
    unit = space.embeddings / np.maximum(np.linalg.norm(space.embeddings, axis=1, keepdims=True), 1e-12)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, : min(NUM_NEIGHBOURS, len(unit) - 1)]
    share = float((space.labels[nearest[:, 0]] == space.labels).mean())
    low, high = wilson(share, len(unit))
    mean = float((space.labels[nearest] == space.labels[:, None]).mean())
    words = f"The nearest other object is of the same class for {percent(share)} of {len(unit)} objects (95 % interval "
    words += f"{percent(low)} to {percent(high)}); of the {nearest.shape[1]} nearest, {percent(mean)} are."
    rows = np.flatnonzero(space.split == "test")
    rows = rows if len(rows) else np.arange(len(unit))
    _, firsts = np.unique(space.labels[rows], return_index=True)  # one object a class, spread over the classes
    firsts = firsts[np.unique(np.linspace(0, len(firsts) - 1, NUM_QUERIES).astype(int))]
    parts = [_answer(page, space, int(row), nearest[row], similarity[row]) for row in rows[firsts]]
    return f"<p>{text(words)}</p>{space.objects.why_none()}{''.join(parts)}"


def _answer(page: Page, space: Space, row: int, nearest: np.ndarray, similarity: np.ndarray) -> str:
    """An object, and those nearest to it."""
    clouds = space.objects.add_clouds(page, [space.ids[place] for place in (row, *nearest.tolist())])

    def name(place: int) -> str:
        return f"{space.objects.name(space.ids[place])}, {space.class_names[space.labels[place]]}"

    items = [thumbnail(clouds.get(space.ids[row]), f"Query: {name(row)}", "query")]
    for rank, place in enumerate(nearest.tolist()):
        is_same = bool(space.labels[place] == space.labels[row])
        words = f"{rank + 1}. {name(place)} ({similarity[place]:.2f}), {'same class' if is_same else 'another class'}"
        items.append(thumbnail(clouds.get(space.ids[place]), words, "right" if is_same else "wrong"))
    return f'<ul class="thumbs row">{"".join(items)}</ul>'


def _short(values: np.ndarray) -> list[float]:
    return [round(float(value), 3) for value in values]
