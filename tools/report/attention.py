"""What the attention of an encoder looks at, recorded while it runs, and the section of the page that shows it.

Shape legend: B batch or n objects, N points, G patches, L layers, H heads, Q queries, T tokens, C channels.
"""

import base64
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointrecon.models.blocks.layers import Attention, CrossAttention
from pointrecon.tools.report.network import NUM_OBJECTS, Network
from pointrecon.tools.report.page import Page, encode_levels, note, table, text

MAX_QUERIES = 6


class AttentionMaps(NamedTuple):
    """Weights over the patches; each row sums to 1.

    Attributes:
        tokens: (L, B, H, G, G): what each patch looks at; L is 0 for an encoder without attention between patches.
        queries: (L, B, H, Q, G): what each query looks at; L is 0 where queries do not attend.
        centers: (B, G, 3) of the patches.
    """

    tokens: Tensor
    queries: Tensor
    centers: Tensor


@torch.no_grad()
def record_attention(encoder: nn.Module, points: Tensor) -> AttentionMaps:
    """Runs an encoder and keeps the weights of its attention.

    Args:
        encoder: a `PatchEncoder` in evaluation mode.
        points: (B, N, 3) float32 as the encoder takes them.
    """
    found: dict[str, list[Tensor]] = {"tokens": [], "queries": []}
    network: Any = encoder
    patches, centers = network.group(points)
    num_groups, num_queries = centers.shape[1], network.queries.total

    def keep_self(name: str) -> Callable[[Attention, tuple[Tensor, ...]], None]:
        def hook(module: Attention, args: tuple[Tensor, ...]) -> None:
            weights = self_weights(module, args[0])
            extra = weights.shape[-1] - num_groups  # tokens in front of the patches
            if "contrast_tower" in name:
                found["queries"].append(_over(weights[:, :, :num_queries, extra:]))
            else:
                found["tokens"].append(_over(weights[:, :, extra:, extra:]))

        return hook

    def keep_cross(module: CrossAttention, args: tuple[Tensor, ...]) -> None:
        found["queries"].append(cross_weights(module, *args))

    handles = []
    for name, module in encoder.named_modules():
        if isinstance(module, Attention):
            handles.append(module.register_forward_pre_hook(keep_self(name)))
        elif isinstance(module, CrossAttention):
            handles.append(module.register_forward_pre_hook(keep_cross))
    try:
        network(patches, centers)
    finally:
        for handle in handles:
            handle.remove()
    batch = len(points)
    none = {"tokens": (0, batch, 0, num_groups, num_groups), "queries": (0, batch, 0, num_queries, num_groups)}
    tokens, queries = (torch.stack(maps) if maps else points.new_zeros(none[key]) for key, maps in found.items())
    return AttentionMaps(tokens, queries, centers)


def self_weights(module: Attention, x: Tensor) -> Tensor:
    """(B, T, C) -> (B, H, T, T), rows: who looks."""
    q, k, _ = module.qkv(x).unflatten(-1, (3, module.num_heads, -1)).unbind(2)
    return _softmax(q, k)


def cross_weights(module: CrossAttention, queries: Tensor, source: Tensor) -> Tensor:
    """(B, Q, C), (B, T, C) -> (B, H, Q, T)."""
    k = module.kv(source).unflatten(-1, (2, module.num_heads, -1))[:, :, 0]
    return _softmax(module.q(queries).unflatten(-1, (module.num_heads, -1)), k)


def mean_distances(maps: AttentionMaps) -> Tensor:
    """How far patches look: the mean distance to what they attend to (L, H), in radii of the unit sphere."""
    distances = torch.cdist(maps.centers, maps.centers)  # (B, G, G)
    return (maps.tokens * distances[None, :, None]).sum(dim=-1).mean(dim=(1, 3))


def _softmax(q: Tensor, k: Tensor) -> Tensor:
    """(B, Q, H, D), (B, T, H, D) -> (B, H, Q, T)."""
    return F.softmax(torch.einsum("bqhd,bthd->bhqt", q, k).float() * q.shape[-1] ** -0.5, dim=-1)


def _over(weights: Tensor) -> Tensor:
    return weights / weights.sum(dim=-1, keepdim=True).clamp_min(1e-12)


def add_attention(page: Page, networks: Sequence[Network]) -> None:
    """The section of attention."""
    panels = {}
    for network in networks:
        if network.objects.pick(NUM_OBJECTS):
            panels[network.name] = _attend(page, f"attention-{len(panels)}", network)
    words = "There is no network with objects to look at."
    page.add("attention", "Attention", page.panels("Network of", panels) if panels else note(words))


def _attend(page: Page, key: str, network: Network) -> str:
    try:
        encoder, objects = network.encoder, network.objects
        ids = objects.pick(NUM_OBJECTS)
        points = objects.points(ids)
        maps = record_attention(encoder, points)
    except AttributeError:  # an encoder of another make
        return note("This encoder does not say how it attends.")
    parts = []
    names = [
        f"{name} {number + 1}" if count > 1 else name
        for name, count in encoder.queries.counts.items()
        for number in range(count)
    ][:MAX_QUERIES]
    if len(maps.queries):
        weights = maps.queries.mean(dim=2).numpy()  # over heads: (L, n, Q, G)
        nearest = torch.cdist(points, maps.centers).argmin(dim=-1).numpy().astype("<u2")
        shapes = [
            {
                "name": objects.name(name),
                "cloud": page.add_cloud(f"{key}/{row}", points[row].numpy()),
                "patches": base64.b64encode(nearest[row].tobytes()).decode(),
                "weights": [
                    [
                        {
                            "levels": encode_levels(layer[query] / layer[query].max()),
                            "top": f"{100 * _top(layer[query]):.0f}",
                        }
                        for query in range(len(names))
                    ]
                    for layer in weights[:, row]
                ],
            }
            for row, name in enumerate(ids)
        ]
        page.data.setdefault("attention", {})[key] = {"shapes": shapes, "queries": names, "layers": len(weights)}
        parts.append(_attention_viewer(key, [shape["name"] for shape in shapes], names, len(weights)))
    else:
        parts.append(note("The queries of this encoder do not attend to patches."))
    if len(maps.tokens):
        parts.append(_distance_chart(page, f"{key}-distance", mean_distances(maps).numpy(), maps.centers))
    return "".join(parts)


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


def _distance_chart(page: Page, key: str, distances: np.ndarray, centers: torch.Tensor) -> str:
    layers = [layer + 1 for layer in range(len(distances))]
    even = float(torch.cdist(centers, centers).mean())
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
