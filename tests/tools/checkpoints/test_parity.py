"""Parity: green on what is right, at any size; red on one wrong number."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pointrecon.models.blocks.batch_norm import use_plain_statistics
from pointrecon.models.classifier import PointClassifier
from pointrecon.models.decoder import MaskedDecoder
from pointrecon.models.encoder import PointEncoder
from pointrecon.models.heads import probe_feature
from pointrecon.models.losses.chamfer import Chamfer
from pointrecon.models.losses.distillation import Distillation
from pointrecon.models.patches.masking import split_of_mask, take_groups
from pointrecon.models.published.encoder import to_published
from pointrecon.models.recon import ReCon
from pointrecon.tools.checkpoints.parity import Comparison, compare, not_compared
from pointrecon.utils.errors import InputError
from tests import ROOT

FIXTURE = ROOT / "tests" / "fixtures" / "official_tiny"
CONFIG = {"trans_dim": 16, "depth": 3, "num_heads": 4, "decoder_depth": 2, "decoder_num_heads": 2, "num_group": 10}
CONFIG |= {"group_size": 6, "npoints": 40, "loss": "cdl1", "mask_ratio": 0.4, "img_dim": 9, "cls_dim": 5}


@pytest.fixture
def folder(tmp_path):
    """A copy of the published fixture."""
    return Path(shutil.copytree(FIXTURE, tmp_path / "fixture"))


def change(folder, edit):
    """Edits expected.npz: `edit` gets and changes the dict of arrays."""
    with np.load(folder / "expected.npz") as file:
        arrays = dict(file)
    edit(arrays)
    np.savez(folder / "expected.npz", **arrays)


def wrong(folder):
    return {comparison.name for comparison in compare(folder) if not comparison.is_within}


def write_other_sizes(folder):
    """A fixture of other sizes, with L1 Chamfer and without text teacher, labels and linear classifier."""
    torch.manual_seed(0)
    folder.mkdir()
    sizes = (16, 3, 4, 10, 6)
    encoder = PointEncoder(*sizes, drop_path=0.0, stop_grad=True)
    decoder = MaskedDecoder(16, 2, 2, 6)
    teachers = {"image": Distillation(9)}
    model = ReCon(encoder, decoder, mask_ratio=0.4, teachers=teachers, chamfer=Chamfer(norm="l1")).eval()
    classifier = PointClassifier(PointEncoder(*sizes, drop_path=0.0), 5).eval()
    torch.save({"base_model": to_published(model.state_dict())}, folder / "pretrain.pth")
    torch.save({"base_model": to_published(classifier.state_dict())}, folder / "cls_full.pth")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    points, feature = torch.randn(3, 40, 3), torch.randn(3, 9)
    mask = torch.rand(3, 10).argsort(dim=1) < 4
    split = split_of_mask(mask)
    with torch.no_grad():
        patches, centers = model.encoder.group(points)
        queries, tokens = model.encoder(patches, centers, split)
        rebuilt = model.decoder(tokens, centers, split)
        terms = model.forward_loss(queries, rebuilt, take_groups(patches, split.masked), targets={"image": feature})
        whole = model.encoder.embed(points)
        out = {
            "out.center": centers,
            "out.eval.cls": queries[:, :1],
            "out.eval.rebuilt": rebuilt,
            "out.eval.loss.mdm": terms["chamfer"],
            "out.eval.loss.csc_img": terms["image"],
            "out.svm": probe_feature(*whole),
            "out.zeroshot.image": model.project(whole[0])["image"],
            "out.cls.full": classifier(points),
        }
    use_plain_statistics(model.train())
    sum(model(points, {"image": feature}, split=split).values()).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    out |= {f"grad.{key}": value for key, value in to_published(gradients).items()}
    out |= {f"bn.{key}": value for key, value in to_published(model.state_dict()).items() if "running" in key}
    inputs = {"points": points, "mask": mask, "img_feature": feature}
    np.savez(folder / "expected.npz", **{name: value.detach().numpy() for name, value in {**inputs, **out}.items()})
    return folder


def test_the_published_numbers_are_reproduced():
    comparisons = compare(FIXTURE)
    assert len(comparisons) == 130 and all(comparison.is_within for comparison in comparisons)
    skipped = not_compared(FIXTURE, comparisons)
    assert len(skipped) == 5 and all(name.startswith("grad.") and name.endswith(".bias") for name in skipped)


def test_any_size_and_whatever_is_there(tmp_path):
    folder = write_other_sizes(tmp_path / "other")
    comparisons = compare(folder)
    assert not [str(comparison) for comparison in comparisons if not comparison.is_within]
    names = {comparison.name for comparison in comparisons}
    assert {"out.eval.loss.mdm", "out.cls.full", "out.zeroshot.image", "grad.MAE_decoder.blocks.1.norm1.bias"} <= names
    assert "bn.MAE_encoder.encoder.second_conv.1.running_var" in names
    assert not any(name.endswith(("csc_text", "smc", "zeroshot.text", "cls.linear")) for name in names)


@pytest.mark.parametrize(
    "name",
    [
        "out.center",
        "out.train.rebuilt",
        "out.eval.loss.smc",
        "out.train.total",
        "out.cls.linear",
        "out.svm",
        "grad.MAE_encoder.blocks.blocks.1.mlp_contrast.fc2.bias",
        "grad.MAE_encoder.encoder.first_conv.0.bias",  # zero, so not compared until it is not
        "bn.cls_proj.4.running_var",
    ],
)
def test_one_changed_number_is_found(folder, name):
    def edit(arrays):
        arrays[name] = arrays[name].copy()
        arrays[name][(0,) * arrays[name].ndim] += 0.01

    change(folder, edit)
    assert wrong(folder) == {name}


def test_not_a_number_is_out_of_tolerance(folder):
    change(folder, lambda arrays: arrays.update({"out.svm": arrays["out.svm"] * np.nan}))
    assert wrong(folder) == {"out.svm"}
    assert "OUT OF TOLERANCE" in str(Comparison("x", float("nan"), 1.0))


def test_one_changed_weight_is_found(folder):
    content = torch.load(folder / "pretrain.pth", weights_only=True)
    content["base_model"]["MAE_encoder.blocks.blocks.0.attn.proj.bias"][3] += 0.01
    torch.save(content, folder / "pretrain.pth")
    found = wrong(folder)
    assert {"out.eval.vis", "out.train.rebuilt", "out.svm"} <= found and "out.center" not in found


def test_gradients_of_unknown_weights_are_not_passed_over(folder):
    change(folder, lambda arrays: arrays.update({"grad.MAE_encoder.extra": np.ones(3), "out.other": np.ones(2)}))
    assert wrong(folder) == {"grad.MAE_encoder.extra"}
    assert "out.other" in not_compared(folder, compare(folder))


def test_a_fixture_with_nothing_to_compare(folder):
    def keep_inputs(arrays):
        for name in [name for name in arrays if "." in name]:
            del arrays[name]

    change(folder, keep_inputs)
    with pytest.raises(InputError, match="nothing to compare"):
        compare(folder)
