"""Loading networks for use: the bare encoder, or a model that takes files and gives labels."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from pointrecon.catalogue import find_weights_file
from pointrecon.model import ShapeModel
from pointrecon.tools.checkpoints.pretrained import load_pretrained


def load_encoder(path: str | Path, *, device: str | torch.device = "cpu", **changes: Any) -> nn.Module:
    """The encoder of a checkpoint, as a module in evaluation mode.

    Args:
        path: A checkpoint of this project or a published one, or a name from `list_models`.
        device: Where it is to be.
        changes: Keys of the config's section `model` that the file does not say, such as `num_heads=6`.

    Returns:
        A module whose `embed(points)` takes (B, N, 3) float32, centred on the mean and in the unit sphere as in
        training (`load_model` does that by itself), and returns `queries` (B, Q, C) and `tokens` (B, G, C).

    Raises:
        InputError: The file cannot be read, or holds no encoder.
    """
    network, _ = load_pretrained(find_weights_file(path), device=device, **changes)
    return getattr(network, "encoder", network)


def load_model(path: str | Path, *, device: str | torch.device = "cpu", **changes: Any) -> ShapeModel:
    """A model that embeds, labels and rebuilds shapes from arrays or files.

    Args:
        path: A checkpoint of this project or a published one, or a name from `list_models`.
        device: Where it is to be.
        changes: Keys of the config's section `model`, as for `load_encoder`.

    Raises:
        InputError: The file cannot be read, or holds no encoder.
    """
    network, info = load_pretrained(find_weights_file(path), device=device, **changes)
    return ShapeModel(network, info)
