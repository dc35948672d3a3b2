"""A fixture folder of ReCon++: weights in the published format, and what the published code computes with them.

tests/fixtures/reconpp_tiny/README.md says what such a folder holds. Its sizes come from its config.json and weights.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from pointrecon.models.blocks.batch_norm import use_plain_statistics
from pointrecon.models.losses.distillation import Distillation, matched_sum_distillation
from pointrecon.models.patches.masking import split_of_mask
from pointrecon.models.published.encoder import strip_wrappers
from pointrecon.models.published.reconpp import to_published_reconpp
from pointrecon.models.reconpp.encoder import CAUSAL
from pointrecon.models.reconpp.load import build_from_state
from pointrecon.models.reconpp.network import ReConPP
from pointrecon.models.reconpp.order import CausalSplit
from pointrecon.tools.checkpoints.parity import Comparison
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import check_file, read_json
from pointrecon.utils.files.npy import read_npz
from pointrecon.utils.files.weights import read_weights

TOLERANCE = 1e-5  # absolute
EXACT = 0.5  # of the number of choices that differ
GRADIENT_TOLERANCE, EMBEDDING_TOLERANCE = 1e-3, 5e-3  # relative, by L2 norm
# A bias in front of a batch-norm, or of keys, has the gradient zero: in float64 it is, in the reference it is rounding.
ZERO, ROUNDING = 1e-10, 1e-4
ZERO_NORM = 1e-5  # of the reference, below which nothing is compared
SMALL_NORM = 1e-2  # norms of gradients below are compared absolutely
WEIGHT = 5.0  # of the published distillation
NAMES = {"image": "img", "text": "text"}
NEEDED = ("num_heads", "num_group", "group_size", "mask_type", "stop_grad", "img_queries", "text_queries")


def variants_of(config: Any) -> list[str]:
    """Names of the sections of a config.json that are those of a ReCon++ network."""
    sections = config.items() if isinstance(config, dict) else ()
    return [name for name, section in sections if isinstance(section, dict) and "mask_type" in section]


class Fixture:
    """A fixture folder.

    Args:
        folder: with config.json, expected.npz and a .pth file for each variant.

    Raises:
        InputError: one of these is missing or damaged, or lacks something that everything else needs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.config = folder, read_json(folder / "config.json")
        path = check_file(folder / "expected.npz", "file of expected values")
        try:
            self.expected = read_npz(path)
        except (OSError, ValueError) as error:
            raise InputError(f"'{path}' is no complete .npz file: {error}") from error
        self.done: list[Comparison] = []
        self.explained: set[str] = set()
        for variant in variants_of(self.config):
            missing = [key for key in NEEDED if key not in self.config[variant]]
            missing += [key for key in ("points", "mask", "img", "text") if f"{variant}.{key}" not in self.expected]
            if missing:
                raise InputError(f"'{folder}' lacks {', '.join(missing)} of the variant '{variant}'")

    def make(self, variant: str, mode: str = "eval", dtype: torch.dtype = torch.float64) -> ReConPP:
        """The pretraining network of a variant with its weights."""
        config = self.config[variant]
        network = build_from_state(
            self.read_state(f"{variant}.pth"),
            num_heads=config["num_heads"],
            decoder_num_heads=config["num_heads"],
            num_groups=config["num_group"],
            group_size=config["group_size"],
            queries={"image": config["img_queries"], "text": config["text_queries"]},
            skip_origin=False,
        )
        network.encoder.stop_grad = config["stop_grad"]
        for name, teacher in network.teachers.items():
            network.teachers[name] = Distillation(teacher.dim, matched_sum_distillation, WEIGHT, normalize=True)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not name.startswith("norm."))
        return cast(ReConPP, use_plain_statistics(network)).to(dtype).train(mode == "train")

    def read_state(self, name: str) -> dict[str, Tensor]:
        """The weights of a file, in float32 and by the published names without wrappers' prefixes."""
        content = read_weights(self.folder / name).content
        state = content.get("base_model", content) if isinstance(content, dict) else None
        if not isinstance(state, dict) or not all(isinstance(x, Tensor) for x in state.values()):
            raise InputError(f"'{self.folder / name}' holds no weights; a fixture has them in 'base_model'")
        return {key: x.float() if x.is_floating_point() else x for key, x in strip_wrappers(state).items()}

    def read(self, name: str) -> Tensor:
        """An input; floats in float32."""
        x = torch.from_numpy(self.expected[name])
        return x.float() if x.is_floating_point() else x

    def split(self, variant: str) -> Any:
        """What is hidden."""
        mask = self.read(f"{variant}.mask")
        is_causal = self.config[variant]["mask_type"] == CAUSAL
        return CausalSplit(mask, len(self.expected[f"{variant}.points"])) if is_causal else split_of_mask(mask)

    def check(self, name: str, ours: Tensor, tolerance: float = TOLERANCE) -> None:
        """Largest difference."""
        if name in self.expected:
            self.done.append(Comparison(name, largest_difference(ours, self.expected[name]), tolerance))

    def check_exactly(self, name: str, ours: Tensor) -> None:
        """How many choices differ."""
        if name in self.expected:
            wanted = self.expected[name]
            is_alike = wanted.shape == tuple(ours.shape)
            count = float((ours.numpy() != wanted).sum()) if is_alike else float("inf")
            self.done.append(Comparison(name, count, EXACT))

    def targets(self, variant: str) -> dict[str, Tensor]:
        """Features and which of them are there, in float64."""
        features = {ours: self.read(f"{variant}.{published}").double() for ours, published in NAMES.items()}
        return features | {f"{name}_mask": (x != 0).any(dim=-1) for name, x in features.items()}

    def check_norms(self, name: str, names: str, gradients: Mapping[str, Tensor | None]) -> None:
        if name in self.expected and names in self.expected:
            pairs = zip(self.expected[names], self.expected[name].astype(np.float64), strict=True)
            worst = max(_norm_difference(gradients.get(str(key)), wanted) for key, wanted in pairs)
            self.done.append(Comparison(name, worst, GRADIENT_TOLERANCE))

    def check_gradients(self, prefix: str, gradients: Mapping[str, Tensor | None]) -> None:
        self.explained |= {name for name in self.expected if name.startswith(f"{prefix}.grad.")}
        for name, wanted in self.expected.items():
            kind, _, key = name.removeprefix(f"{prefix}.grad.").partition(".")
            if not name.startswith(f"{prefix}.grad.") or kind not in ("f32", "f16", "rows", "cols"):
                continue
            wanted = wanted.astype(np.float64)
            if kind == "f16":
                wanted = wanted * float(self.expected[f"{prefix}.grad.max.{key}"])
            gradient = gradients.get(key)
            if gradient is not None and kind in ("rows", "cols"):
                gradient = gradient.flatten(1).sum(dim=1 if kind == "rows" else 0)
            if np.linalg.norm(wanted) >= ZERO_NORM and not _is_rounding(gradient, float(np.linalg.norm(wanted))):
                tolerance = EMBEDDING_TOLERANCE if ".embed." in f".{key}" else GRADIENT_TOLERANCE
                self.done.append(Comparison(name, _relative_difference(gradient, wanted), tolerance))


def gradients_of(network: nn.Module) -> dict[str, Tensor | None]:
    """Gradients by published names; None where a parameter has none at all."""
    parameters = dict(network.named_parameters())
    published = to_published_reconpp({key: torch.full_like(x, row) for row, (key, x) in enumerate(parameters.items())})
    values = list(parameters.values())
    grads = {key: values[int(x.flatten()[0])].grad for key, x in published.items()}
    return {key: None if grad is None else grad.reshape(published[key].shape) for key, grad in grads.items()}


def largest_difference(ours: Tensor, expected: np.ndarray) -> float:
    """The largest difference of two arrays; infinite if they differ in size."""
    if ours.numel() != expected.size:
        return float("inf")
    wanted = expected.astype(np.float64).reshape(ours.shape)
    return float(np.abs(ours.detach().double().numpy() - wanted).max())


def _relative_difference(ours: Tensor | None, wanted: np.ndarray) -> float:
    if ours is None or ours.numel() != wanted.size:
        return float("inf")
    return float(np.linalg.norm(ours.double().numpy().reshape(wanted.shape) - wanted) / np.linalg.norm(wanted))


def _is_rounding(gradient: Tensor | None, wanted: float) -> bool:
    return gradient is not None and float(gradient.norm()) < ZERO and wanted < ROUNDING


def _norm_difference(gradient: Tensor | None, wanted: float) -> float:
    """Relative, and absolute below `SMALL_NORM`; -1 stands for no gradient at all."""
    if gradient is None or wanted < 0:
        return 0.0 if gradient is None and wanted < 0 else float("inf")
    if wanted < ZERO_NORM or _is_rounding(gradient, wanted):
        return 0.0
    return abs(float(gradient.norm()) - wanted) / max(wanted, SMALL_NORM)
