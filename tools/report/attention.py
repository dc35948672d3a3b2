"""The section of attention: what each query looks at, and how far patches look, layer by layer.

Shape legend: n objects, N points, G patches, L layers, H heads, Q queries.
"""

import base64
from collections.abc import Sequence

import numpy as np
import torch

from pointrecon.attention import attend, query_names_of
from pointrecon.tools.report.network import NUM_OBJECTS, Network
from pointrecon.tools.report.page import Page, encode_levels, note, table, text
from pointrecon.utils.errors import InputError

MAX_QUERIES = 6


def add_attention(page: Page, networks: Sequence[Network]) -> None:
    """The section of attention."""
    panels: dict[str, str] = {}
    for network in networks:
        if network.objects.pick(NUM_OBJECTS):
            panels[network.name] = _attend(page, f"attention-{len(panels)}", network)
    words = "There is no network with objects to look at."
    page.add("attention", "Attention", page.panels("attention", "Network of", panels) if panels else note(words))


def _attend(page: Page, key: str, network: Network) -> str:
    objects = network.objects
    ids = objects.pick(NUM_OBJECTS)
    try:
        points = objects.points(ids)
        maps = attend(network.encoder, points)
    except (InputError, AttributeError) as error:  # an encoder without attention or of another make, an unread object
        return note(f"It cannot be said what this network attends to: {error}")
    queries = query_names_of(network.encoder)[:MAX_QUERIES]
    weights = maps["queries"].mean(axis=2)  # over heads: (n, L, Q, G)
    nearest = torch.cdist(points, torch.from_numpy(maps["positions"])).argmin(dim=-1).numpy().astype("<u2")
    shapes = [
        {
            "name": objects.name(name),
            "cloud": page.add_cloud(f"{key}/{row}", points[row].numpy()),
            "patches": base64.b64encode(nearest[row].tobytes()).decode(),
            "weights": [[_describe(layer[query]) for query in range(len(queries))] for layer in weights[row]],
        }
        for row, name in enumerate(ids)
    ]
    num_layers = weights.shape[1]
    page.data.setdefault("attention", {})[key] = {"shapes": shapes, "queries": queries, "layers": num_layers}
    viewer = _attention_viewer(key, [str(shape["name"]) for shape in shapes], queries, num_layers)
    return viewer + _distance_chart(page, f"{key}-distance", maps["distance"].mean(axis=0), maps["positions"])


def _describe(weights: np.ndarray) -> dict[str, str]:
    """Attention over patches (G,), for the scripts."""
    levels, share = encode_levels(weights / weights.max()), _top(weights / weights.sum())
    return {"levels": levels, "top": f"{100 * share:.0f}"}


def _top(weights: np.ndarray) -> float:
    """The part of the attention that the fifth of the patches gets which is looked at most."""
    count = max(1, round(len(weights) / 5))
    return float(np.sort(weights)[-count:].sum())


def _attention_viewer(key: str, names: Sequence[str], queries: Sequence[str], layers: int) -> str:
    options = "".join(f'<option value="{row}">{text(name)}</option>' for row, name in enumerate(names))
    views = "".join(
        f'<figure class="view"><canvas class="cloud" tabindex="0" role="img" data-query="{row}" aria-label=""></canvas>'
        f'<figcaption>query <b>{text(name)}</b><br><span class="share"></span></figcaption></figure>'
        for row, name in enumerate(queries)
    )
    words = "What each query attends to, mean of the heads: the darker (in the dark view: the lighter), the more."
    return (
        f'<div class="attention" id="{key}"><div class="controls"><label class="choice">Object '
        f'<select class="shape">{options}</select></label><label class="choice">Layer <input type="range" '
        f'class="layer" min="0" max="{layers - 1}" step="1" value="{layers - 1}" aria-describedby="{key}-said"></label>'
        f'</div><p class="said" id="{key}-said" aria-live="polite"></p><div class="views">{views}</div>{note(words)}'
        "</div>"
    )


def _distance_chart(page: Page, key: str, distances: np.ndarray, centers: np.ndarray) -> str:
    layers = [layer + 1 for layer in range(len(distances))]
    even = float(np.linalg.norm(centers[:, :, None] - centers[:, None], axis=-1).mean())
    mean = distances.mean(axis=1)
    heads = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": layers,
            "y": _short(distances[:, head]),
            "name": f"head {head + 1}",
            "marker": {"color": "@0/0.45", "size": 8},
        }
        for head in range(distances.shape[1])
    ]
    line = {
        "type": "scatter",
        "mode": "lines",
        "x": layers,
        "y": _short(mean),
        "name": "mean of the heads",
        "line": {"color": "@0", "width": 2},
    }
    shape = {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": even,
        "y1": even,
        "line": {"color": "@1", "dash": "dash"},
    }
    layout = {
        "height": 320,
        "xaxis": {"title": {"text": "layer"}, "dtick": 1 if len(layers) < 16 else 2},
        "shapes": [shape],
        "yaxis": {"title": {"text": "distance"}, "rangemode": "tozero"},
    }
    head = ("layer", "mean", *(f"head {number + 1}" for number in range(distances.shape[1])))
    rows = [(str(layer), float(mean[layer - 1]), *map(float, distances[layer - 1])) for layer in layers]
    label = "How far patches look in each layer: mean distance to what they attend to, in radii of the object; "
    label += f"a dot a head; dashed: attention spread evenly, {even:.2f}"
    return page.figure(key, [line, *heads], layout, label, table(head, rows, "Attention distance by layer"))


def _short(values: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in values]
