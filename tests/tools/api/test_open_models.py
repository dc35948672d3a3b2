"""Open-vocabulary encoders through the public interface: recognised, fed as trained, the same methods for all."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import pointrecon
from pointrecon import open_models, words
from pointrecon.open_models import OpenModel
from pointrecon.search import ShapeIndex
from pointrecon.tools.open.export import OpenEmbedder
from pointrecon.utils.errors import InputError
from tests import ROOT

FOLDER = ROOT / "tests" / "fixtures" / "alternatives_tiny"
PLUS = ROOT / "tests" / "fixtures" / "reconpp_tiny"
OPTIONS = {
    "openshape": {"num_groups": 16, "group_size": 12, "radius": 0.45},
    "ulip2": {"num_heads": 3, "num_groups": 16, "group_size": 8},
    "uni3d_fused": {"num_heads": 3, "num_groups": 16, "group_size": 8},
}
CLOUDS = np.random.RandomState(0).randn(3, 60, 3) * [1, 2, 3] + 7


@pytest.fixture(scope="module")
def models():
    return {name: pointrecon.load_model(FOLDER / f"{name}.pth", **options) for name, options in OPTIONS.items()}


@pytest.mark.parametrize("name", OPTIONS)
def test_one_call_embeds_as_the_network_was_trained(models, name):
    model = models[name]
    assert isinstance(model, OpenModel) and model.has_text
    result = model.embed(CLOUDS)
    assert result.embeddings.shape == (3, 40) and result.ids == list("012")
    encoder = pointrecon.load_encoder(FOLDER / f"{name}.pth", **OPTIONS[name])
    points = torch.from_numpy(np.stack([encoder.recipe.prepare(cloud) for cloud in CLOUDS]))
    np.testing.assert_allclose(result.embeddings, encoder(points).numpy(), atol=1e-5)
    np.testing.assert_allclose(
        model.embed(list(CLOUDS * 10 - 4), batch_size=1).embeddings, result.embeddings, atol=1e-3
    )


def test_gravity_can_be_another_axis_in_the_input(models):
    model = models["ulip2"]
    standing = CLOUDS @ np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # +y to +z
    np.testing.assert_allclose(model.embed(standing, up="z").embeddings, model.embed(CLOUDS).embeddings, atol=1e-4)
    assert np.abs(model.embed(standing).embeddings - model.embed(CLOUDS).embeddings).max() > 0.05


def test_colours_count_and_grey_is_their_absence(models):
    model = models["uni3d_fused"]
    plain = model.embed(CLOUDS).embeddings
    np.testing.assert_array_equal(model.embed(CLOUDS, np.full((3, 60, 3), 0.4, np.float32)).embeddings, plain)
    red = np.zeros((3, 60, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    assert np.abs(model.embed(CLOUDS, red).embeddings - plain).max() > 0.05
    one, two = model.embed(CLOUDS, torch.from_numpy(red) / 255), model.embed(CLOUDS, list(red))
    np.testing.assert_allclose(one.embeddings, two.embeddings, atol=1e-6)


def test_files_bring_their_colours(models, tmp_path):
    trimesh = pytest.importorskip("trimesh")
    colors = np.random.RandomState(1).randint(0, 256, (60, 4), dtype=np.uint8)
    trimesh.PointCloud(CLOUDS[0], colors=colors).export(tmp_path / "a.ply")
    (tmp_path / "b.npy").write_bytes(b"no array")
    result = models["ulip2"].embed(tmp_path)
    assert result.ids == [str(tmp_path / "a.ply")] and list(result.skipped) == [str(tmp_path / "b.npy")]
    wanted = models["ulip2"].embed(CLOUDS[0], colors[:, :3]).embeddings
    np.testing.assert_allclose(result.embeddings, wanted, atol=1e-3)


def test_labels_words_and_shapes(models, tmp_path):
    model = models["openshape"]
    embedded = model.embed(CLOUDS).embeddings
    result = model.classify(CLOUDS, ["a", "b", "c"], label_features=embedded * 3)
    assert result.labels == ["a", "b", "c"] and result.scores.shape == (3, 3)
    index, _ = ShapeIndex.build(model, CLOUDS)
    assert index.search(model, shape=CLOUDS[1], top=1)[0].id == "1"
    with pytest.raises(InputError, match="label_features"):
        model.classify(CLOUDS, ["a", "b"])
    with pytest.raises(InputError, match=r"need \(2, 40\)"):
        model.classify(CLOUDS, ["a", "b"], label_features=embedded)
    with pytest.raises(InputError, match="no decoder"):
        model.reconstruct(CLOUDS)


def test_pictures_are_searched_in_the_space_of_the_texts(models, monkeypatch):
    about = dataclasses.replace(models["openshape"].about, text_teacher=("any", "weights"))
    model = OpenModel(models["openshape"].network, about, "net.pth")
    index, _ = ShapeIndex.build(model, CLOUDS)
    seen = torch.from_numpy(model.embed(CLOUDS[2]).embeddings)
    teacher = SimpleNamespace(encode_image=lambda images: seen if images.shape == (1, 3, 8, 8) else None)
    asked = []
    monkeypatch.setattr(words, "_load_teacher", lambda *which: asked.append(which) or teacher)
    assert model.search({"picture": np.zeros((8, 8, 3), np.uint8)}, index, top=1)[0].id == "2"
    assert asked == [("OpenClipTeacher", (("model", "any"), ("pretrained", "weights")))]
    unknown, _ = ShapeIndex.build(models["openshape"], CLOUDS)
    with pytest.raises(InputError, match="no image projection"):
        unknown.search(models["openshape"], picture=np.zeros((8, 8, 3), np.uint8))


def test_many_files_are_embedded_some_after_the_other(models, tmp_path, monkeypatch):
    for row, cloud in enumerate(CLOUDS):
        np.save(tmp_path / f"{row}.npy", cloud)
    (tmp_path / "3.npy").write_bytes(b"no array")
    model = models["ulip2"]
    whole = model.embed(tmp_path, up="z", jobs=0)
    monkeypatch.setattr(open_models, "FILES_AT_ONCE", 1)
    parts = model.embed(tmp_path, up="z", jobs=0)
    assert parts.ids == whole.ids and parts.skipped == whole.skipped and len(whole.skipped) == 1
    np.testing.assert_allclose(parts.embeddings, whole.embeddings, atol=1e-5)


def test_half_precision_is_near(models):
    half = pointrecon.load_model(FOLDER / "ulip2.pth", precision="bf16", **OPTIONS["ulip2"])
    one, two = half.embed_all(CLOUDS)[1], models["ulip2"].embed_all(CLOUDS)[1]
    assert one.dtype == np.float32 and not np.array_equal(one, two)
    assert ((one * two).sum(1) > 0.999).all()


def test_attention_and_features_for_language_models(models):
    for name, model in models.items():
        found = model.attention(CLOUDS)
        assert found.queries.shape == (3, 2, model.network.num_heads, 1, 16) and found.query_names == ["class"]
        np.testing.assert_allclose(found.patches.sum(-1), 1, atol=1e-5)
        assert ((found.queries > 0) & (found.queries < 1)).all() and (found.distance > 0).all()
        given = model.features(CLOUDS)
        assert list(given) == ["layout", "ids", "positions", "patches", "queries", "skipped"]
        shapes = [given[part].shape for part in ("positions", "patches", "queries")]
        assert shapes == [(3, 16, 3), (3, 16, 24), (3, 1, 24)], name


@pytest.mark.parametrize("name", OPTIONS)
def test_what_is_exported_computes_the_same(models, name):
    embedder, points, wanted = _exported(models[name])
    np.testing.assert_allclose(embedder(points)[0].numpy(), wanted, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "suffix"), [("uni3d_fused", ".onnx"), ("openshape", ".onnx"), ("openshape", ".pt2")])
def test_exported_files_give_the_same_embeddings(models, tmp_path, name, suffix):
    out = tmp_path / f"m{suffix}"
    _, points, wanted = _exported(models[name])
    if suffix == ".onnx":
        pytest.importorskip("onnxscript")
        onnxruntime = pytest.importorskip("onnxruntime")
    models[name].export(out, num_points=70)
    if suffix == ".pt2":
        embedding = torch.export.load(out).module()(points)[0].numpy()
    else:
        embedding = onnxruntime.InferenceSession(str(out)).run(["embedding"], {"points": points.numpy()})[0]
    np.testing.assert_allclose(embedding, wanted, atol=1e-4)


def _exported(model):
    """The embedder that is written, points in units of their own, and their embeddings."""
    colors = np.random.RandomState(2).rand(3, 60, 3).astype(np.float32)
    recipe = dataclasses.replace(model.network.recipe, is_refilled=False)  # the draw of points is no part of a file
    made = np.stack([recipe.prepare(cloud, paint) for cloud, paint in zip(CLOUDS, colors, strict=True)])
    points = torch.from_numpy(np.concatenate([CLOUDS, colors], axis=2).astype(np.float32))
    with torch.no_grad():
        return OpenEmbedder(model.network), points, model.network(torch.from_numpy(made)).numpy()


@pytest.mark.parametrize("name", ["zeroshot", "causal"])
def test_recon_plus_plus_is_one_of_them(name):
    config = json.loads((PLUS / "config.json").read_text())[name]
    options = {"num_heads": config["num_heads"], "num_groups": config["num_group"]}
    model = pointrecon.load_model(PLUS / f"{name}.pth", **options)
    assert isinstance(model, OpenModel) and model.about.text_teacher[0] == "ViT-bigG-14"
    assert model.num_points == {"zeroshot": 10_000, "causal": 1024}[name]
    with np.load(PLUS / "expected.npz") as file:
        embedded = model.network(torch.from_numpy(file[f"{name}.points"])).numpy()
        np.testing.assert_allclose(embedded, file[f"{name}.zeroshot.embedding"], atol=1e-5)
    found = model.attention(CLOUDS)
    assert found.query_names[0] == "image 0" and found.query_names[-1] == "text 2"
    assert found.queries.shape == (3, config["depth"], config["num_heads"], 16, config["num_group"])
    total = found.queries.sum(-1)
    assert np.allclose(total, 1, atol=1e-5) if name == "zeroshot" else (total < 1).all()
    given = model.features(CLOUDS)
    assert given["queries"].shape == (3, 16, 20) and given["patches"].shape == (3, config["num_group"], 20)
    if name == "causal":
        with pytest.raises(InputError, match="cannot be exported"):
            OpenEmbedder(model.network)
        return
    embedder, points, wanted = _exported(model)
    np.testing.assert_allclose(embedder(points)[0].numpy(), wanted, atol=1e-5)


def test_recon_plus_plus_attention_is_that_of_its_layers():
    model = pointrecon.load_model(PLUS / "zeroshot.pth", num_heads=4, num_groups=16)
    points = torch.rand(1, 64, 6, generator=torch.Generator().manual_seed(0))
    attn, kept = model.network.blocks[1].query.attn, []
    hook = attn.register_forward_hook(lambda module, inputs, output: kept.append((inputs, output)))
    _, by_query, _ = list(model.network.attention(points))[1]
    hook.remove()
    (_, source), output = kept[0]
    values = attn.kv(source).unflatten(-1, (2, 4, -1))[:, :, 1]
    ours = attn.proj(torch.einsum("bhqg,bghd->bqhd", by_query, values).flatten(2))
    torch.testing.assert_close(ours, output, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((CLOUDS,), {"colors": np.zeros((2, 60, 3))}, "colours are given for 2 shapes"),
        ((CLOUDS,), {"colors": np.zeros((3, 59, 3))}, "shape '0': colours are of shape"),
        ((np.zeros((5, 3)),), {}, "needs at least 16"),
        ((np.ones((20, 3)),), {}, "no extent"),
        ((CLOUDS,), {"up": "w"}, "up is 'w'"),
        (([],), {}, "no shape to work on"),
    ],
)
def test_what_is_wrong_is_said(models, arguments, options, message):
    with pytest.raises(InputError, match=message):
        models["ulip2"].embed(*arguments, **options)


def test_a_file_that_is_not_whole_is_named():
    with pytest.raises(InputError, match=r"uni3d_gelu.pth' cannot be used: .*lack"):
        pointrecon.load_model(FOLDER / "uni3d_gelu.pth", num_heads=3, num_groups=16, group_size=8)
    with pytest.raises(InputError, match="precision is 'fp8'"):
        pointrecon.load_model(FOLDER / "ulip2.pth", precision="fp8", **OPTIONS["ulip2"])
