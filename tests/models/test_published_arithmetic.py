"""The network reproduces what the published implementation computes, number for number (see the fixture's README).

scripts/check_parity.py prints the same comparisons, and for other fixtures.
"""

import pytest
import torch

from pointrecon.models.published.encoder import from_published, to_published
from pointrecon.tools.checkpoints.parity import compare
from tests import ROOT

FIXTURE = ROOT / "tests" / "fixtures" / "official_tiny"


@pytest.fixture(scope="module")
def comparisons():
    return {comparison.name: comparison for comparison in compare(FIXTURE)}


def check(comparisons, prefix, count):
    chosen = {name: comparison for name, comparison in comparisons.items() if name.startswith(prefix)}
    assert len(chosen) == count
    assert not [str(comparison) for comparison in chosen.values() if not comparison.is_within]


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_pretraining_outputs_and_losses(comparisons, mode):
    check(comparisons, f"out.{mode}.", 9 if mode == "eval" else 10)


def test_gradients_after_one_training_step(comparisons):
    check(comparisons, "grad.", 97)


def test_running_statistics_after_one_training_step(comparisons):
    check(comparisons, "bn.", 8)


@pytest.mark.parametrize(("name", "count"), [("center", 1), ("cls.", 2), ("svm", 1), ("zeroshot.", 2)])
def test_patches_logits_and_features(comparisons, name, count):
    check(comparisons, f"out.{name}", count)


@pytest.mark.parametrize("name", ["pretrain.pth", "cls_full.pth", "cls_linear.pth"])
def test_key_names_map_both_ways(name):
    published = torch.load(FIXTURE / name, weights_only=True, map_location="cpu")["base_model"]
    back = to_published(from_published(published))
    assert back.keys() == published.keys()
    assert all(torch.equal(back[key], published[key]) for key in published)
