"""Every number of the published implementation, and that mistakes are seen."""

import json
import runpy
import shutil

import numpy as np
import pytest

from pointrecon.models.reconpp import order
from pointrecon.models.reconpp.encoder import ReConPPEncoder
from pointrecon.tools.reconpp import fixture, parity
from pointrecon.tools.reconpp.parity import compare_reconpp, is_reconpp_fixture
from pointrecon.utils.errors import InputError
from tests import ROOT

FOLDER = ROOT / "tests" / "fixtures" / "reconpp_tiny"


@pytest.fixture(scope="module")
def outcome():
    return compare_reconpp(FOLDER)


def test_every_number_is_reproduced(outcome):
    comparisons, skipped = outcome
    assert len(comparisons) == 392 and not skipped
    assert not [str(item) for item in comparisons if not item.is_within]


@pytest.mark.parametrize(
    "name",
    ["fps", "center", "pos", "eval.tokens", "eval.local.1", "eval.decoder.1", "eval.match.text", "train.loss.image"]
    + [
        "train.loss.all",
        "train.gradnorm.contrast",
        "zeroshot.embedding",
        "train.bn.model.embed.second_conv.1.running_var",
    ],
)
def test_what_is_compared(outcome, name):
    names = {item.name for item in outcome[0]}
    published = name.replace("loss.image", "loss.img")
    assert {f"zeroshot.{published}", f"causal.{published}"} <= names
    assert {"cls.train.logits", "cls.train.gradnorm", "cls.missing", "large.train", "causal.order"} <= names


def wrong_of(part, *arguments):
    """Names out of tolerance of one part of the comparison."""
    whole = parity.Parity(FOLDER)
    getattr(whole, part)(*arguments)
    return {item.name for item in whole.done if not item.is_within}


def test_a_position_that_is_added_once_is_seen(monkeypatch):
    run = ReConPPEncoder._run

    def once(self, queries, tokens, positions, mask, keep):
        return run(self, queries, tokens + positions, 0 * positions, mask, keep)

    monkeypatch.setattr(ReConPPEncoder, "_run", once)
    assert "causal.eval.local.1" in wrong_of("compare_forward", "causal", "eval")
    assert "cls.eval.logits" in wrong_of("compare_classifier", "causal")


def test_a_direction_without_its_small_number_is_seen(monkeypatch):
    def plain(centers):
        steps = centers.diff(dim=1)
        return order.torch.cat([centers[:, :1], steps / steps.norm(dim=-1, keepdim=True)], dim=1)

    monkeypatch.setattr(parity, "chain_directions", plain)
    assert wrong_of("compare_patches", "causal") == {"causal.decoder_pos"}


def test_a_gradient_that_does_not_stop_is_seen(monkeypatch):
    make = fixture.Fixture.make

    def open_gradient(self, *arguments, **options):
        network = make(self, *arguments, **options)
        network.encoder.stop_grad = not network.encoder.stop_grad
        return network

    monkeypatch.setattr(fixture.Fixture, "make", open_gradient)
    assert "causal.train.gradnorm.contrast" in wrong_of("compare_gradients", "causal")


def test_the_command_recognises_the_folder(monkeypatch, capsys, outcome):
    monkeypatch.setattr("sys.argv", ["check_parity.py", str(FOLDER)])
    command = runpy.run_path(str(ROOT / "scripts" / "check_parity.py"))["main"]
    monkeypatch.setitem(command.__globals__, "compare_reconpp", lambda folder: outcome)
    assert is_reconpp_fixture(FOLDER) and not is_reconpp_fixture(FOLDER.parent / "official_tiny")
    assert command() == 0 and "392 of 392 within tolerance" in capsys.readouterr().out


@pytest.fixture
def copy(tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(FOLDER, folder)
    return folder


def test_what_is_missing_is_named(copy):
    config = json.loads((copy / "config.json").read_text())
    del config["causal"]["num_heads"]
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="lacks num_heads of the variant 'causal'"):
        compare_reconpp(copy)


def test_a_part_of_a_fixture_is_compared_as_far_as_it_goes(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({"zeroshot": config["zeroshot"]}))
    kept = ("zeroshot.points", "zeroshot.img", "zeroshot.text", "zeroshot.mask", "zeroshot.center")
    with np.load(copy / "expected.npz") as expected:
        arrays = {name: expected[name] for name in kept}
    np.savez(copy / "expected.npz", **arrays)
    comparisons, skipped = compare_reconpp(copy)
    assert [item.name for item in comparisons] == ["zeroshot.center"] and not skipped


@pytest.mark.parametrize("name", ["expected.npz", "causal.pth"])
def test_damage_is_one_sentence(copy, name):
    (copy / name).write_bytes((copy / name).read_bytes()[:1000])
    with pytest.raises(InputError, match=name):
        compare_reconpp(copy)
