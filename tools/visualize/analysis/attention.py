"""Attention distance by layer: how far the generative stream looks, and how widely the contrastive one.

Shape legend: n objects, L layers, H heads, Q queries, G patches.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointrecon.attention import attend, query_names_of
from pointrecon.tools.visualize.analysis.panels import Line, Panel, draw
from pointrecon.tools.visualize.analysis.subjects import HELD_OUT, Subject, clouds, log
from pointrecon.utils.errors import InputError

BATCH = 32


def measure(subjects: Sequence[Subject], *, count: int = 64, split: str = HELD_OUT) -> dict[str, Any]:
    """Attention distances in radii of the shape, without masks.

    Args:
        subjects: those without attention in two streams are left out, which the log says.
        count: objects at most.
        split: whose objects.

    Returns:
        By network `local` (L, H): mean distance from a patch to what it attends to; `global` (L, H): mean distance
        between two patches that the queries attend to; `queries`: that of each query, (L,); and `uniform`, what
        both are for attention spread evenly.

    Raises:
        InputError: no network has attention in two streams.
    """
    found = {}
    for subject in subjects:
        try:
            found[subject.name] = distances(subject.network.encoder, clouds(subject, split, count)[1])
        except InputError as error:  # one stream, or blocks without attention
            log.warning(f"attention: {subject.name} is left out, since {error}")
    if not found:
        raise InputError("none of the networks has attention in two streams; give one of ReConBlock or PreNormBlock")
    return found


def distances(encoder: Any, points: Tensor) -> dict[str, Any]:
    """The numbers of one network: (n, N, 3) in the unit sphere."""
    parts = [attend(encoder, part) for part in points.split(BATCH)]
    maps = {key: np.concatenate([part[key] for part in parts]) for key in ("distance", "spread", "positions")}
    centers = torch.from_numpy(maps["positions"])
    spread = maps["spread"].mean(axis=0)  # (L, H, Q)
    return {
        "num_objects": len(points),
        "local": maps["distance"].mean(axis=0),
        "global": spread.mean(axis=2),
        "queries": dict(zip(query_names_of(encoder), spread.mean(axis=1).T, strict=True)),
        "uniform": float(torch.cdist(centers, centers).mean()),
    }


def draw_attention(found: Mapping[str, Any], target: Path, *, has_title: bool = True) -> Path:
    """Two panels, one a stream: the mean over the heads, and a band from the nearest to the farthest head."""
    titles = {"local": "patch tokens: self-attention", "global": "queries: cross-attention"}
    even = float(np.mean([item["uniform"] for item in found.values()]))
    panels = []
    for stream, title in titles.items():
        lines = [
            Line(name, range(1, len(item[stream]) + 1), item[stream].mean(1), item[stream].min(1), item[stream].max(1))
            for name, item in found.items()
        ]
        panels.append(Panel(title, lines, y_label="distance in radii", level=(even, "spread evenly")))
    count = next(iter(found.values()))["num_objects"]
    subtitle = f"mean of the heads, band: from the nearest-looking head to the farthest-looking; {count} objects"
    return draw(target, panels, title="Attention distance by layer", subtitle=subtitle, has_title=has_title)
