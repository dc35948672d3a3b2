"""Compares this project with numbers that the published implementation computed, kept in a fixture folder.

What the folder does not have is not compared.

Shape legend: B batch, G groups, K points per group, M masked groups, T visible tokens, C channels.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pointrecon.models.encoder import QUERIES
from pointrecon.models.heads import probe_feature
from pointrecon.models.patches.masking import split_of_mask, take_groups
from pointrecon.models.published.encoder import to_published
from pointrecon.models.recon import ReCon
from pointrecon.tools.checkpoints.parity_fixture import Fixture, read_arrays
from pointrecon.utils.errors import InputError

TOLERANCE = 1e-5  # of outputs, losses and running statistics, absolute
GRADIENT_TOLERANCE = 1e-4  # relative, by L2 norm
# Rounding can flip which point of a patch wins a max-pool.
PATCH_TOLERANCE, PATCH_EMBEDDING = 5e-3, "grad.MAE_encoder.encoder."
ZERO_NORM = 1e-5  # a bias in front of a batch-norm: its true gradient is zero
TERMS = {"chamfer": "mdm", "image": "csc_img", "text": "csc_text", "self": "smc"}
PUBLISHED_QUERIES = {"cls": "cls", "image": "img_token", "text": "text_token"}


@dataclass(frozen=True)
class Comparison:
    """One array of the fixture against ours; `difference` is the largest one, or for gradients the relative one."""

    name: str
    difference: float
    tolerance: float

    @property
    def is_within(self) -> bool:
        """Whether the two agree; a difference that is no number does not."""
        return self.difference <= self.tolerance

    def __str__(self) -> str:
        verdict = "ok" if self.is_within else "OUT OF TOLERANCE"
        return f"{self.name:<60}  {self.difference:9.2e}  (tolerance {self.tolerance:.0e})  {verdict}"


def compare(folder: str | Path) -> list[Comparison]:
    """Everything that the fixture has: outputs and losses in float32, then one training step in float64.

    Raises:
        InputError: a file is missing or damaged, or the fixture holds nothing to compare.
    """
    fixture = Fixture(folder)
    parts = (compare_pretraining, compare_features, compare_classifiers, compare_training_step)
    comparisons = [comparison for part in parts for comparison in part(fixture)]
    if not comparisons:
        raise InputError(f"'{fixture.folder / 'expected.npz'}' holds nothing to compare (out.*, grad.*, bn.*)")
    return comparisons


@torch.no_grad()
def compare_pretraining(fixture: Fixture) -> Iterator[Comparison]:
    """Centres, queries, tokens, reconstruction and losses, with batch-norm in evaluation and in training mode."""
    expected, inputs = fixture.expected, fixture.batch()
    for mode in ("eval", "train"):
        model = fixture.make_recon().train(mode == "train")
        patches, centers = model.encoder.group(inputs["points"])
        if mode == "eval":
            yield from _compare(expected, {"out.center": centers})
        ours, terms = _forward(model, patches, centers, inputs)
        ours |= {f"loss.{TERMS[name]}": term for name, term in terms.items()}
        yield from _compare(expected, {f"out.{mode}.{name}": value for name, value in ours.items()})


@torch.no_grad()
def compare_features(fixture: Fixture) -> Iterator[Comparison]:
    """What the SVM and zero-shot recognition read."""
    model = fixture.make_recon().eval()
    queries, tokens = model.encoder.embed(fixture.batch()["points"])
    projected = {f"out.zeroshot.{name}": value for name, value in model.project(queries).items()}
    yield from _compare(fixture.expected, {"out.svm": probe_feature(queries, tokens), **projected})


@torch.no_grad()
def compare_classifiers(fixture: Fixture) -> Iterator[Comparison]:
    """Logits of the three-layer and of the linear head."""
    for name in ("full", "linear"):
        if f"out.cls.{name}" in fixture.expected:
            logits = fixture.make_classifier(name)(fixture.batch()["points"])
            yield from _compare(fixture.expected, {f"out.cls.{name}": logits})


def compare_training_step(fixture: Fixture) -> Iterator[Comparison]:
    """The total loss, every gradient and every running statistic after one forward pass in training mode.

    In float64, so that our own rounding does not count: the cls query's gradient passes two batch-norms over the few
    samples of a batch, where float32 on different thread counts differs by as much as the tolerance.
    """
    expected, inputs = fixture.expected, fixture.batch()
    model = fixture.make_recon().train()
    patches, centers = model.encoder.group(inputs["points"])
    model.double()
    inputs = {name: x.double() if x.is_floating_point() else x for name, x in inputs.items()}
    _, terms = _forward(model, patches.double(), centers.double(), inputs)
    total = sum(terms.values())
    yield from _compare(expected, {"out.train.total": total})
    total.backward()
    gradients = {name: torch.zeros_like(x) if x.grad is None else x.grad for name, x in model.named_parameters()}
    gradients = {f"grad.{key}": gradient for key, gradient in to_published(gradients).items()}
    for name, wanted in expected.items():
        if name.startswith("grad.") and np.linalg.norm(wanted) >= ZERO_NORM:
            tolerance = PATCH_TOLERANCE if name.startswith(PATCH_EMBEDDING) else GRADIENT_TOLERANCE
            yield Comparison(name, _relative_difference(gradients.get(name), wanted), tolerance)
    statistics = {f"bn.{key}": value for key, value in to_published(model.state_dict()).items()}
    yield from _compare(expected, statistics)


def not_compared(folder: str | Path, comparisons: list[Comparison]) -> list[str]:
    """Names of results in expected.npz that no comparison is about: zero gradients, and what is not known here."""
    compared = {comparison.name for comparison in comparisons}
    names = read_arrays(Path(folder) / "expected.npz")
    return [name for name in names if name.startswith(("out.", "grad.", "bn.")) and name not in compared]


def _forward(model: ReCon, patches: Tensor, centers: Tensor, inputs: Mapping[str, Tensor]) -> tuple[dict, dict]:
    """Outputs by the fixture's names, and the loss terms by ours."""
    split = split_of_mask(inputs["mask"])
    queries, tokens = model.encoder(patches, centers, split)
    rebuilt = model.decoder(tokens, centers, split)
    ours = {PUBLISHED_QUERIES[name]: queries[:, column] for column, name in enumerate(QUERIES)}
    ours |= {"vis": tokens, "rebuilt": rebuilt}
    targets = {name: inputs[f"{name}_feature"] for name in ("image", "text") if f"{name}_feature" in inputs}
    hidden = take_groups(patches, split.masked)
    return ours, model.forward_loss(queries, rebuilt, hidden, targets=targets, labels=inputs.get("labels"))


def _compare(expected: Mapping[str, np.ndarray], ours: Mapping[str, Tensor]) -> Iterator[Comparison]:
    for name, value in ours.items():
        if name in expected:
            yield Comparison(name, _largest_difference(value, expected[name]), TOLERANCE)


def _largest_difference(ours: Tensor, expected: np.ndarray) -> float:
    if ours.numel() != expected.size:
        return float("inf")
    wanted = expected.astype(np.float64).reshape(ours.shape)
    return float(np.abs(ours.detach().double().numpy() - wanted).max())


def _relative_difference(ours: Tensor | None, expected: np.ndarray) -> float:
    if ours is None or ours.numel() != expected.size:
        return float("inf")
    wanted = expected.astype(np.float64).reshape(ours.shape)
    return float(np.linalg.norm(ours.double().numpy() - wanted) / np.linalg.norm(wanted))
