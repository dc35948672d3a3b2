"""Image teachers from timm: any of its networks, with its pooled features before the classification layer."""

import contextlib
import logging
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from pointrecon.models.teachers import TEACHERS
from pointrecon.models.teachers.base import OPTION, FrozenTeacher, check_model_name, find_weights, load_weights
from pointrecon.models.teachers.hub import one_try
from pointrecon.utils.errors import InputError


@TEACHERS.register()
class TimmTeacher(FrozenTeacher):
    """Sees pictures with a timm network.

    Args:
        model: Name in timm, such as vit_base_patch16_224.
        pretrained: hub (timm downloads the weights), a weights file, package:NAME/PATH (a file in an installed Python
            package), or None: random weights, for tests only.

    Raises:
        InputError: An unknown network, or weights that cannot be had or do not fit.
    """

    def __init__(self, model: str, pretrained: str | None = "hub") -> None:
        try:
            import timm
        except ImportError as error:
            raise InputError("TimmTeacher needs timm; run: pip install timm") from error

        # Published weights are named with a tag, as in vit_base_patch16_224.augreg_in21k.
        check_model_name("timm", model.partition(".")[0], timm.list_models())
        network: Any
        try:
            with one_try() if pretrained == "hub" else contextlib.nullcontext():
                network = timm.create_model(model, pretrained=pretrained == "hub", num_classes=0)
        except Exception as error:  # the hub's client raises its own types when there is no network
            raise InputError(_describe_missing(timm, model, error)) from error
        if pretrained not in (None, "hub"):
            head = network.default_cfg.get("classifier") or ""
            load_weights(network, find_weights(pretrained), head if isinstance(head, str) else head[0])
        if pretrained is None:
            logging.getLogger("recon").warning("teacher %s has random weights: pretrained is null", model)
        data = timm.data.resolve_model_data_config(network)
        network.to(memory_format=torch.channels_last)  # twice as fast for convolutions on a CPU
        super().__init__(
            network, network.num_features, data["input_size"][-1], data["mean"], data["std"], data["interpolation"]
        )

    def forward_image(self, images: Tensor) -> Tensor:
        """Turns (B, 3, S, S) prepared pictures into (B, D) pooled features, not normalised."""
        return self.network(images.contiguous(memory_format=torch.channels_last))


def _describe_missing(timm: ModuleType, model: str, error: Exception) -> str:
    """Says which file could not be had and where it is to be put."""
    config, reason = timm.get_pretrained_cfg(model), " ".join(str(error).split())[:100].rstrip(".")
    source = (config and (config.hf_hub_id or config.url)) or None
    if source is None:
        return (
            f"timm could not load '{model}' ({reason}); timm has no weights of it, so give a weights file as {OPTION}"
        )
    file = f"model.safetensors of https://huggingface.co/{source}" if config.hf_hub_id else source
    return (
        f"timm could not download the weights of '{model}', {file} ({reason}); fetch this file on a machine that can "
        f"and give its path as {OPTION}"
    )
