"""Loading networks for use: the bare encoder, or a model that takes files and gives labels."""

from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from pointrecon.catalogue import find_weights_file
from pointrecon.model import ShapeModel
from pointrecon.models.open.reconpp import OpenReConPP
from pointrecon.models.reconpp.network import ReConPP
from pointrecon.open_models import OpenModel, open_reconpp
from pointrecon.tools.checkpoints.pretrained import load_pretrained
from pointrecon.tools.open.files import load_open_encoder


def load_encoder(path: str | Path, *, device: str | torch.device = "cpu", **changes: Any) -> nn.Module:
    """The encoder of a checkpoint, as a module in evaluation mode.

    Args:
        path: A checkpoint of this project or a published one, a folder that `save_pretrained` has written,
            hf://OWNER/NAME of a model hub, or a name from `list_models`.
        device: Where it is to be.
        changes: Keys of the config's section `model` that the file does not say, such as `num_heads=6`; of an
            open-vocabulary encoder `num_heads`, `num_groups`, `group_size`, `radius`.

    Returns:
        A module whose `embed(points)` takes (B, N, 3) float32, centred on the mean and in the unit sphere as in
        training (`load_model` does that by itself), and returns `queries` (B, Q, C) and `tokens` (B, G, C). An
        open-vocabulary one takes (B, N, 6) as its `recipe.prepare(points, colors)` makes it, and maps it to (B, E).

    Raises:
        InputError: The file cannot be read, or holds no encoder.
    """
    file = find_weights_file(path)
    opened = load_open_encoder(file, device=device, **changes)
    if opened is not None:
        return opened[0]
    network, _ = load_pretrained(file, device=device, **changes)
    return getattr(network, "encoder", network)


def load_model(
    path: str | Path, *, device: str | torch.device = "cpu", precision: str = "fp32", **changes: Any
) -> ShapeModel:
    """A model that embeds, labels and rebuilds shapes from arrays or files.

    An open-vocabulary encoder (ReCon++, Uni3D, OpenShape-PointBERT, ULIP-2) is recognised by its keys and brings its
    own axes, colours, scale and number of points.

    Args:
        path: A checkpoint of this project or a published one, a folder that `save_pretrained` has written,
            hf://OWNER/NAME of a model hub, or a name from `list_models`.
        device: Where it is to be.
        precision: Of an open-vocabulary encoder: `fp32`, or `bf16` on a device that has it.
        changes: Keys of the config's section `model`, as for `load_encoder`.

    Raises:
        InputError: The file cannot be read, or holds no encoder.
    """
    file = find_weights_file(path)
    opened = load_open_encoder(file, device=device, **changes)
    if opened is not None:
        return OpenModel(*opened, file, precision)
    network, info = load_pretrained(file, device=device, **changes)
    if info.kind.startswith("published") and OpenReConPP.can_wrap(network):
        return open_reconpp(cast(ReConPP, network), info, precision)
    return ShapeModel(network, info)
