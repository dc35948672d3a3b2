"""Image teachers from timm: any of its networks, with its pooled features before the classification layer."""

import logging

import torch
from torch import Tensor

from models.teachers import TEACHERS
from models.teachers.base import FrozenTeacher, check_model_name, find_weights, load_weights
from utils.errors import InputError


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
        try:
            network = timm.create_model(model, pretrained=pretrained == "hub", num_classes=0)
        except Exception as error:  # the hub's client raises its own types when there is no network
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"timm could not load '{model}' ({reason}); give a file as pretrained if the hub cannot be reached"
            ) from error
        if pretrained not in (None, "hub"):
            head = network.default_cfg.get("classifier") or ""
            load_weights(network, find_weights(pretrained), head if isinstance(head, str) else head[0])
        if pretrained is None:
            logging.getLogger("recon").warning("teacher %s has random weights: pretrained is null", model)
        data = timm.data.resolve_model_data_config(network)
        network.to(memory_format=torch.channels_last)  # twice as fast for convolutions on a CPU
        super().__init__(network, network.num_features, data["input_size"][-1], data["mean"], data["std"])

    @torch.no_grad()
    def encode_image(self, images: Tensor) -> Tensor:
        """Turns (B, 3, H, W) RGB in 0..1 into (B, D) pooled features, not normalised."""
        return self.network(self.prepare(images).contiguous(memory_format=torch.channels_last))
