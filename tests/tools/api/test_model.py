"""The public Python interface on a tiny trained network."""

import hashlib
import os

import numpy as np
import pytest
import torch

import pointrecon
from pointrecon import catalogue
from pointrecon.catalogue import ModelCard
from pointrecon.datasets.opening import open_split
from pointrecon.datasets.splits import Choice
from pointrecon.shapes import to_clouds
from pointrecon.tools.build import build_pretrainer
from pointrecon.tools.checkpoints.checkpoint import save_checkpoint
from pointrecon.utils.config import complete_config, to_plain
from pointrecon.utils.errors import InputError
from tests import ROOT
from tests.miniature import CLASSES, TINY


@pytest.fixture
def clouds():
    return np.random.RandomState(0).randn(5, 100, 3) * [1, 2, 3] + 7


def test_names_of_the_package():
    assert set(pointrecon.__all__) == {"__version__", "list_models", "load_encoder", "load_model"}
    assert pointrecon.__version__[0].isdigit()
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pointrecon.nothing


def test_an_encoder_embeds_clouds(tiny_checkpoint):
    encoder = pointrecon.load_encoder(tiny_checkpoint)
    assert isinstance(encoder, torch.nn.Module) and not encoder.training
    queries, tokens = encoder.embed(torch.randn(2, 48, 3))
    assert queries.shape == (2, 3, 24) and tokens.shape == (2, 8, 24)


def test_embeddings_are_those_of_the_encoder_and_do_not_depend_on_place_size_or_batch(tiny_checkpoint, clouds):
    model = pointrecon.load_model(tiny_checkpoint)
    result = model.embed(clouds)
    assert result.embeddings.shape == (5, 48) and result.embeddings.dtype == np.float32 and result.ids == list("01234")
    moved = model.embed(torch.from_numpy(clouds) * 10 - 3, batch_size=2)
    np.testing.assert_allclose(moved.embeddings, result.embeddings, atol=1e-4)


def test_files_folders_and_lists(tiny_checkpoint, clouds, tmp_path):
    model = pointrecon.load_model(tiny_checkpoint)
    paths = []
    for row, cloud in enumerate(clouds):
        paths.append(tmp_path / "d" / f"{row}.npy")
        paths[-1].parent.mkdir(exist_ok=True)
        np.save(paths[-1], cloud)
    wanted = model.embed(clouds).embeddings
    for given in (tmp_path / "d", str(tmp_path / "d"), paths, [str(path) for path in paths]):
        result = model.embed(given)
        assert result.ids == [str(path) for path in paths]
        np.testing.assert_array_equal(result.embeddings, wanted)
    (tmp_path / "d" / "6.npy").write_bytes(b"no array")
    result = model.embed(tmp_path / "d")
    assert len(result.ids) == 5 and list(result.skipped) == [str(tmp_path / "d" / "6.npy")]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (np.zeros((4, 2)), "is no cloud"),
        (np.full((20, 3), np.nan), "NaN"),
        (np.zeros((20, 3)), "no extent"),
        ([], "no shape to work on"),
        (7, "a int is no shape"),
        ("nowhere/", "is not there"),
    ],
)
def test_what_is_no_shape_is_one_sentence(tiny_checkpoint, shapes, message):
    with pytest.raises(InputError, match=message):
        pointrecon.load_model(tiny_checkpoint).embed(shapes)


def test_reconstruction(tiny_checkpoint, clouds):
    model = pointrecon.load_model(tiny_checkpoint)
    result = model.reconstruct(clouds, mask_ratio=0.5, seed=3)
    assert result["visible"].shape == (5, 16, 3) and result["rebuilt"].shape == (5, 16, 3)
    assert result["chamfer"].shape == (5,) and (result["chamfer"] > 0).all()
    again = model.reconstruct(clouds, mask_ratio=0.5, seed=3)
    np.testing.assert_array_equal(result["rebuilt"], again["rebuilt"])
    with pytest.raises(InputError, match="mask_ratio"):
        model.reconstruct(clouds, mask_ratio=0.01)


def test_labels_are_checked_before_anything_else(tiny_checkpoint, clouds, monkeypatch):
    model = pointrecon.load_model(tiny_checkpoint)
    for labels, message in (([], "labels are empty"), (["chair", " Chair "], "given twice")):
        with pytest.raises(InputError, match=message):
            model.classify(clouds, labels)
    directions = {"ball": [1.0, 0, 0, 0, 0, 0], "rod": [0, 1.0, 0, 0, 0, 0]}
    monkeypatch.setattr(
        "pointrecon.model.class_features", lambda names, info: np.array([directions[n] for n in names], "f")
    )
    result = model.classify(clouds, ["rod", "ball"])
    assert result.scores.shape == (5, 2) and result.labels == [["rod", "ball"][row] for row in result.scores.argmax(1)]


def test_a_trained_head_gives_probabilities_of_its_classes(classifier_checkpoint, tiny_checkpoint, clouds):
    model = pointrecon.load_model(classifier_checkpoint)
    result = model.classify(clouds, batch_size=2)
    assert result.names == model.class_names == CLASSES
    np.testing.assert_allclose(result.scores.sum(1), 1, atol=1e-5)
    assert result.labels == [CLASSES[row] for row in result.scores.argmax(1)]
    logits = model.network(torch.from_numpy(to_clouds(clouds, num_points=48).points))
    np.testing.assert_allclose(result.scores, logits.softmax(1), atol=1e-5)
    assert model.embed(clouds).embeddings.shape == (5, 48)
    with pytest.raises(InputError, match="knows no words; leave the labels out"):
        model.classify(clouds, ["chair"])
    with pytest.raises(InputError, match="no trained classification head; give labels"):
        pointrecon.load_model(tiny_checkpoint).classify(clouds)


@pytest.mark.parametrize("kind", ["ReCon", "TwoTower"])
def test_attention_of_both_streams(kind, clouds, tmp_path):
    cfg = complete_config({"model": {**TINY["model"], "type": kind}, "data": TINY["data"]}, "test")
    network = build_pretrainer(cfg, {"image": 10, "text": 6})
    save_checkpoint({"base_model": network.state_dict(), "config": to_plain(cfg)}, tmp_path / "a.pth")
    model = pointrecon.load_model(tmp_path / "a.pth")
    found = model.attention(clouds, batch_size=2)
    names = ["cls", "image", "text"] if kind == "ReCon" else ["image", "text"]
    assert found.query_names == names and found.ids == list("01234")
    shapes = {"positions": (5, 8, 3), "queries": (5, 2, 2, len(names), 8), "patches": (5, 2, 8, 8)}
    shapes |= {"distance": (5, 2, 2), "spread": (5, 2, 2, len(names))}
    assert {name: getattr(found, name).shape for name in shapes} == shapes
    np.testing.assert_allclose(found.patches.sum(-1), 1, atol=1e-5)
    sums = found.queries.sum(-1)
    assert np.allclose(sums, 1, atol=1e-5) if kind == "ReCon" else (sums < 1).all()
    assert (0 < found.distance).all() and (found.distance < 2).all() and np.abs(found.positions).max() <= 1


def test_weights_that_give_nothing_finite_are_one_sentence(tiny_checkpoint, classifier_checkpoint, clouds):
    for path, call in (
        (tiny_checkpoint, "embed"),
        (classifier_checkpoint, "embed"),
        (classifier_checkpoint, "classify"),
    ):
        model = pointrecon.load_model(path)
        with torch.no_grad():
            for parameter in model.network.parameters():
                parameter.fill_(1e30)
        with pytest.raises(InputError, match="of 5 of 5 objects are not finite"):
            getattr(model, call)(clouds)


def test_attention_is_what_the_network_computes_with(tiny_checkpoint, clouds):
    """The output of an attention layer follows from the shares that are given."""
    model = pointrecon.load_model(tiny_checkpoint)
    layer, kept = model.encoder.blocks[1].attn_contrast, {}
    layer.register_forward_hook(lambda module, inputs, output: kept.update(source=inputs[1], output=output))
    found = model.attention(clouds[:1])
    values = layer.kv(kept["source"])[..., 24:].unflatten(-1, (2, 12)).transpose(1, 2)
    mixed = torch.from_numpy(found.queries[:, 1]) @ values
    np.testing.assert_allclose(layer.proj(mixed.transpose(1, 2).flatten(2)), kept["output"], atol=1e-5)


def test_a_network_without_attention_says_so(tmp_path, clouds):
    cfg = complete_config({"model": {**TINY["model"], "block": "MixerBlock"}, "data": TINY["data"]}, "test")
    network = build_pretrainer(cfg, {"text": 6})
    save_checkpoint({"base_model": network.state_dict(), "config": to_plain(cfg)}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="MixerBlock have no attention"):
        pointrecon.load_model(tmp_path / "a.pth").attention(clouds)


def test_a_file_with_another_hash_is_refused(tmp_path, monkeypatch):
    card = ModelCard(
        "mine", "mine.pth", "A test", "https://example.org", "MIT", sha256=hashlib.sha256(b"right").hexdigest()
    )
    monkeypatch.setattr(catalogue, "MODELS", (card,))
    monkeypatch.setattr(catalogue, "WEIGHTS", tmp_path)
    (tmp_path / "mine.pth").write_bytes(b"wrong")
    with pytest.raises(InputError, match="is not the file of 'mine': its SHA-256 begins with .*; download it again"):
        pointrecon.load_model("mine")
    (tmp_path / "mine.pth").write_bytes(b"right")
    assert catalogue.find_weights_file("mine") == tmp_path / "mine.pth"


def test_words_of_another_width_are_refused(tiny_checkpoint, clouds, monkeypatch):
    monkeypatch.setattr("pointrecon.model.class_features", lambda names, info: np.ones((len(names), 9), "f"))
    with pytest.raises(InputError, match="a text teacher of 6 values, but words are read by one of 9"):
        pointrecon.load_model(tiny_checkpoint).classify(clouds, ["chair"])


def test_names_that_are_no_model(tmp_path):
    with pytest.raises(InputError, match="did you mean 'recon-base-pretrain'"):
        pointrecon.load_model("recon-base-pretrian")
    with pytest.raises(InputError, match="download it from https://.* and save it as"):
        pointrecon.load_model("recon-base-pretrain")
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(InputError, match="checkpoint '.*pipe.pth' is no plain file"):
        pointrecon.load_model(tmp_path / "pipe.pth")
    with pytest.raises(InputError, match="'gone.pth' is not there"):
        pointrecon.load_model("gone.pth")
    assert {card.name for card in pointrecon.list_models()} >= {"recon-base-pretrain"}


def test_the_shipped_network_has_its_hash_and_knows_its_test_objects():
    """Zero-shot on the objects of fold 0, which its training left out."""
    model = pointrecon.load_model("pointrecon-small")
    data = open_split("SweetHome3D", str(ROOT / "data"), Choice(split="test", fold=0))
    rows = range(0, len(data), 5)
    points = np.stack([data[row]["points"].numpy()[: model.num_points] for row in rows])
    found = model.classify(points, data.class_texts)
    right = [data.class_texts.index(label) == data.labels[row] for label, row in zip(found.labels, rows, strict=True)]
    assert len(right) == 22 and np.mean(right) > 0.4  # chance: 0.05
