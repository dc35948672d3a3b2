"""Linear CKA (Kornblith et al., ICML 2019): how alike two streams, or two networks, see the same objects.

Shape legend: n objects, N points, L layers, Q queries, T tokens, C channels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointrecon.tools.visualize.analysis.panels import Line, Panel, Squares, draw
from pointrecon.tools.visualize.analysis.subjects import HELD_OUT, TRAINED, Subject, clouds
from pointrecon.utils.errors import InputError

BATCH = 32
STREAMS = ("local", "global")


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Similarity of two sets of features of the same objects, 0..1; NaN if all features of one are the same.

    It does not change when either is rotated, shifted or scaled. With fewer objects than channels it is close to 1
    whatever the features are.

    Args:
        x: (n, C).
        y: (n, D).
    """
    x, y = (np.asarray(z, dtype=np.float64) - np.mean(z, axis=0, dtype=np.float64) for z in (x, y))
    shared, own = np.linalg.norm(x.T @ y) ** 2, np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(shared / own) if own > 0 else float("nan")


@torch.inference_mode()
def streams(encoder: Any, points: Tensor) -> dict[str, list[np.ndarray]]:
    """What each block gives out, unmasked: `local` the mean over the patches (n, C), `global` the queries (n, Q C).

    Raises:
        InputError: the encoder is neither ReCon's nor that of two towers.
    """
    if not hasattr(encoder, "blocks") or not hasattr(encoder, "queries"):
        raise InputError(f"{type(encoder).__name__} has no blocks of two streams; give networks of ReCon or TwoTower")
    tower, total = getattr(encoder, "contrast_tower", None), encoder.queries.total
    outputs: list[Any] = []
    blocks = [*encoder.blocks, *(tower.blocks if tower is not None else ())]
    hooks = [block.register_forward_hook(lambda _, __, output: outputs.append(output)) for block in blocks]
    found: dict[str, list[list[Tensor]]] = {name: [[] for _ in encoder.blocks] for name in STREAMS}
    depth = len(encoder.blocks)
    try:
        for part in points.split(BATCH):
            outputs.clear()
            encoder(*encoder.group(part))
            for layer in range(depth):
                # Two towers run one after the other; a block of two streams gives both.
                pair = (outputs[layer + depth][:, :total], outputs[layer]) if tower is not None else outputs[layer]
                found["global"][layer].append(pair[0].flatten(1))
                found["local"][layer].append(pair[1].mean(dim=1))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: [torch.cat(parts).numpy() for parts in layers] for name, layers in found.items()}


def measure(subjects: Sequence[Subject], *, count: int = 512, split: str | None = None) -> dict[str, Any]:
    """CKA of each network's streams by layer, and of all pairs of networks.

    Args:
        subjects: the networks.
        count: objects at most.
        split: whose objects; None: of those that are trained on, since there are more of them, and a few hundred are
            needed.

    Returns:
        `num_objects`, `streams`: by network (L,), and `networks`: by stream (networks, networks) of the last layers.
    """
    split = split or (TRAINED if count > 64 else HELD_OUT)
    features = {}
    for subject in subjects:
        ids, points = clouds(subject, split, count)
        features[subject.name] = streams(subject.network.encoder, points)
    between = {
        name: [linear_cka(x, y) for x, y in zip(found["local"], found["global"], strict=True)]
        for name, found in features.items()
    }
    across = {
        stream: np.array([[linear_cka(a[stream][-1], b[stream][-1]) for b in features.values()]
                          for a in features.values()])
        for stream in STREAMS
    }  # fmt: skip
    return {"num_objects": len(ids), "split": split, "streams": between, "networks": across}


def draw_cka(found: Mapping[str, Any], target: Path, *, has_title: bool = True) -> Path:
    """The streams of each network by layer, and the networks against one another in each stream."""
    lines = [Line(name, range(1, len(values) + 1), values) for name, values in found["streams"].items()]
    names = list(found["streams"])
    panels: list[Panel | Squares] = [Panel("patch tokens and queries", lines, y_label="CKA", from_zero=True)]
    words = {"local": "patch tokens, last layer", "global": "queries, last layer"}
    panels += [Squares(words[stream], names, np.array(found["networks"][stream])) for stream in STREAMS]
    subtitle = f"{found['num_objects']} objects; 1: the same up to rotation, shift and scale"
    return draw(target, panels, title="Linear CKA of streams and networks", subtitle=subtitle, has_title=has_title)
