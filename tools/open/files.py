"""Files of weights of Uni3D, OpenShape-PointBERT and ULIP-2, recognised by their keys."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pointrecon.models.open.build import OpenInfo, build_from_state
from pointrecon.models.open.encoder import OpenEncoder
from pointrecon.models.open.keys import family_of
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.weights import read_weights_file

CONTAINERS = ("module", "state_dict", "model", "base_model", "model_state_dict")


def load_open_encoder(
    path: str | Path, *, device: str | torch.device = "cpu", **changes: Any
) -> tuple[OpenEncoder, OpenInfo] | None:
    """The encoder of a file.

    Args:
        path: As published, or as .safetensors.
        device: Where the encoder is to be.
        changes: As for `build_from_state`.

    Returns:
        None if the file is of another network.

    Raises:
        InputError: The file cannot be read, or its weights are not whole.
    """
    content = read_weights_file(path)
    state = find_state(content)
    if state is None:
        return None
    scale = content.get("logit_scale")
    try:
        encoder, info = build_from_state(state, logit_scale=scale if isinstance(scale, Tensor) else None, **changes)
    except InputError as error:
        raise InputError(f"'{path}' cannot be used: {error}") from error
    return encoder.to(device), info


def find_state(content: Any) -> Mapping[str, Tensor] | None:
    """The weights of one of these encoders in what a file holds; None if there are none."""
    if not isinstance(content, Mapping):
        return None
    for state in (*(content.get(name) for name in CONTAINERS), content):
        if isinstance(state, Mapping):
            tensors = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)}
            if family_of(tensors) is not None:
                return tensors
    return None
