"""A fixture folder: weights in the published format, and what the published implementation computes with them.

tests/fixtures/official_tiny/README.md says what such a folder holds. Sizes come from its config.json and its weights.

Shape legend: B batch, N points, G groups.
"""

from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from pointrecon.models.blocks.batch_norm import use_plain_statistics
from pointrecon.models.classifier import PointClassifier
from pointrecon.models.decoder import MaskedDecoder
from pointrecon.models.encoder import PointEncoder
from pointrecon.models.losses.chamfer import Chamfer
from pointrecon.models.losses.contrast import Contrast
from pointrecon.models.losses.distillation import Distillation
from pointrecon.models.recon import ReCon
from pointrecon.tools.checkpoints.checkpoint import load_weights, read_checkpoint
from pointrecon.tools.checkpoints.sizes import projection_dims, sizes_of
from pointrecon.utils.errors import InputError, check_choice
from pointrecon.utils.files.io import check_file, read_json
from pointrecon.utils.files.npy import read_npz

NEEDED = ("trans_dim", "depth", "num_heads", "decoder_depth", "num_group", "group_size", "loss", "mask_ratio")
LOSSES = {"cdl1": "l1", "cdl2": "l2"}
INPUTS = {"points": "points", "mask": "mask", "image_feature": "img_feature", "text_feature": "text_feature"}


class Fixture:
    """A fixture folder.

    Args:
        folder: with config.json, expected.npz, pretrain.pth and, for the classifiers' logits, cls_<head>.pth.

    Raises:
        InputError: one of these is missing or damaged, or lacks something that everything else needs.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.config = read_json(self.folder / "config.json")
        missing = [key for key in NEEDED if key not in self.config] if isinstance(self.config, dict) else NEEDED
        if missing:
            raise InputError(f"'{self.folder / 'config.json'}' lacks {', '.join(missing)}")
        check_choice(f"loss in '{self.folder / 'config.json'}'", self.config["loss"], LOSSES)
        self.expected = read_arrays(self.folder / "expected.npz")
        self.weights = self.folder / "pretrain.pth"
        state = read_checkpoint(self.weights)["base_model"]
        self.sizes, self.dims = sizes_of(state), projection_dims(state)
        self._check_shapes()

    def make_encoder(self, stop_grad: bool) -> PointEncoder:
        """The encoder, without drop-path."""
        config = self.config
        return PointEncoder(
            config["trans_dim"],
            config["depth"],
            config["num_heads"],
            config["num_group"],
            config["group_size"],
            mlp_ratio=self.sizes.get("model.mlp_ratio", 4.0),
            drop_path=0.0,
            stop_grad=stop_grad,
        )

    def make_recon(self) -> ReCon:
        """The pretraining network with the fixture's weights."""
        config, sizes = self.config, self.sizes
        mlp_ratio = sizes.get("model.mlp_ratio", 4.0)
        encoder = self.make_encoder(stop_grad=True)
        decoder = MaskedDecoder(
            encoder.embed_dim,
            config["decoder_depth"],
            config.get("decoder_num_heads", config["num_heads"]),
            config["group_size"],
            mlp_ratio=mlp_ratio,
            drop_path=0.0,
        )
        contrast_dim = sizes.get("loss.contrast.dim")
        contrast = {"temperature": config.get("smc_temperature", 0.1), "dim": contrast_dim}
        model = ReCon(
            encoder,
            decoder,
            mask_ratio=config["mask_ratio"],
            teachers={name: Distillation(dim) for name, dim in self.dims.items()},
            chamfer=Chamfer(norm=LOSSES[config["loss"]]),
            contrast=None if contrast_dim is None else Contrast(**contrast),
        )
        load_weights(model, self.weights)
        # Its training step is the published one, in its statistics too.
        return cast(ReCon, use_plain_statistics(model))

    def make_classifier(self, name: str) -> PointClassifier:
        """The classifier `full` or `linear` with its weights."""
        path = self.folder / f"cls_{name}.pth"
        sizes = sizes_of(read_checkpoint(path)["base_model"])
        head, num_classes = sizes.get("classifier.head"), sizes.get("number of classes")
        if head is None or num_classes is None:
            raise InputError(f"'{path}' holds no classifier")
        model = PointClassifier(self.make_encoder(stop_grad=False), num_classes, head)
        load_weights(model, path)
        return model.eval()

    def batch(self) -> dict[str, Tensor]:
        """The inputs, by our names; what the fixture does not have is left out."""
        inputs = {ours: torch.from_numpy(self.expected[name]) for ours, name in INPUTS.items() if name in self.expected}
        inputs = {name: x if name == "mask" else x.float() for name, x in inputs.items()}
        if "labels" in self.expected:
            classes = {str(name): row for row, name in enumerate(self.expected["labels"])}
            inputs["labels"] = torch.tensor([classes[str(name)] for name in self.expected["labels"]])
        return inputs

    def _check_shapes(self) -> None:
        batch = len(self.expected["points"])
        wanted = {
            "points": (batch, *self.expected["points"].shape[1:2], 3),
            "mask": (batch, self.config["num_group"]),
            "img_feature": (batch, self.dims.get("image")),
            "text_feature": (batch, self.dims.get("text")),
            "labels": (batch,),
        }
        for name, shape in wanted.items():
            if name in self.expected and None not in shape and self.expected[name].shape != shape:
                raise InputError(
                    f"'{name}' in '{self.folder / 'expected.npz'}' is of shape {self.expected[name].shape}, but the "
                    f"points, the config and the weights ask for {shape}"
                )
        mask = self.expected["mask"]
        if mask.dtype != bool or len(set(mask.sum(axis=1).tolist())) != 1:
            raise InputError(
                f"'mask' in '{self.folder / 'expected.npz'}' must be bool, with as many masked groups in each row"
            )


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of expected.npz, by name.

    Raises:
        InputError: the file is missing or damaged, or lacks an input.
    """
    path = check_file(path, "file of expected values")
    try:
        arrays = read_npz(path)
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' ({path.stat().st_size:,} bytes) is no complete .npz file: {error}") from error
    missing = [name for name in ("points", "mask") if name not in arrays]
    if missing:
        raise InputError(f"'{path}' lacks {' and '.join(missing)}, the inputs of every comparison")
    return arrays
