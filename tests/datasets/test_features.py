"""The teacher cache: what is written comes back by id, what is not there is refused; the bundled one fits its data."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from datasets.features import FeatureCache, ImageFeatures, TextFeatures, quantize, write_features
from datasets.prompts import TEMPLATES
from datasets.sweethome3d import SweetHome3D
from utils.errors import InputError

ROOT = Path(__file__).resolve().parents[2] / "data"
IDS = ["b", "a", "c"]
RANDOM = np.random.RandomState(0)
IMAGE = ImageFeatures(IDS, RANDOM.randn(3, 4, 32).astype(np.float32), {"model": "eye", "torch": torch.__version__})
TEXT = TextFeatures(
    ids=IDS,
    names=["chair", "lamp", "chair"],
    name_features={name: RANDOM.randn(2, 8).astype(np.float32) for name in ("lamp", "chair")},
    templates=["{}.", "A {}."],
    class_names=["seat", "light"],
    class_features=RANDOM.randn(2, 3, 8).astype(np.float32),
    class_templates=["{}", "A {}", "The {}"],
)


@pytest.fixture
def cache(tmp_path):
    write_features(tmp_path / "cache.h5", IMAGE, TEXT)
    return FeatureCache(tmp_path / "cache.h5")


def assert_near(table, expected):
    """Within half a quantisation step of each vector."""
    step = np.abs(expected).max(-1, keepdims=True) / 127
    assert table.dtype == torch.float32 and table.shape == expected.shape
    assert (np.abs(table.numpy() - expected) <= step * 0.5001).all()


def test_image_features_come_back_in_the_order_asked_for(cache):
    assert_near(cache.image_table(["c", "b", "c"]), IMAGE.features[[2, 0, 2]])
    assert_near(cache.image_table(IDS, num_views=2), IMAGE.features[:, :2])
    assert cache.info["image"] == {"model": "eye", "torch": str(torch.__version__)}


def test_text_features_come_back_by_id(cache):
    expected = np.stack([TEXT.name_features[name] for name in ("lamp", "chair", "chair")])
    assert_near(cache.text_table(["a", "b", "c"]), expected)
    assert_near(cache.text_table(["a"], num_prompts=1), expected[:1, :1])
    assert cache.templates() == TEXT.templates


def test_equal_names_are_stored_once(cache):
    with h5py.File(cache.path) as file:
        assert file["text/names"].asstr()[:].tolist() == ["chair", "lamp"]
        assert file["text/features"].shape == (2, 2, 8)


def test_class_features_come_back_by_name(cache):
    assert_near(cache.class_table(["light", "seat"]), TEXT.class_features[::-1])


def test_features_are_kept_as_they_are(cache):
    """Neither centred nor scaled to length 1."""
    norm = cache.image_table(IDS).norm(dim=-1).numpy()
    np.testing.assert_allclose(norm, np.linalg.norm(IMAGE.features, axis=-1), rtol=0.01)
    assert norm.std() > 0.1


def test_same_features_give_the_same_bytes(tmp_path):
    for name in ("one.h5", "two.h5"):
        write_features(tmp_path / name, IMAGE, TEXT)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()


def test_quantize_keeps_zeros_and_extremes():
    vectors = np.array([[0.0, 0.0, 0.0], [-5.0, 2.5, 5.0], [1e-6, 0.0, -1e-6]], dtype=np.float32)
    values, scale = quantize(vectors)
    assert values.dtype == np.int8 and scale.dtype == np.float32
    np.testing.assert_allclose(values * scale[:, None], vectors, atol=5 / 254)
    assert values[1].tolist() == [-127, 64, 127] and values[2].tolist() == [127, 0, -127]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda cache: cache.image_table(["a", "x", "y"]), "2 of 3 objects, first 'x'.*make_teacher_cache"),
        (lambda cache: cache.text_table(["x"]), "1 of 1 objects, first 'x'"),
        (lambda cache: cache.class_table(["seat", "lihgt"]), "class 'lihgt'; did you mean 'light'"),
        (lambda cache: cache.image_table(IDS, num_views=5), "num_views is 5, but .* has 4"),
        (lambda cache: cache.text_table(IDS, num_prompts=0), "num_prompts is 0"),
    ],
)
def test_what_is_not_there_is_refused(cache, ask, message):
    with pytest.raises(InputError, match=message):
        ask(cache)


def test_cache_of_one_teacher(tmp_path):
    write_features(tmp_path / "cache.h5", image=IMAGE)
    cache = FeatureCache(tmp_path / "cache.h5")
    assert cache.image_table(["a"]).shape == (1, 4, 32)
    with pytest.raises(InputError, match="no text features"):
        cache.class_table(["seat"])


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        FeatureCache(tmp_path / "none.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["points"] = [1.0]
    with pytest.raises(InputError, match="no teacher cache"):
        FeatureCache(tmp_path / "other.h5")
    write_features(tmp_path / "cache.h5", IMAGE, TEXT)
    data = (tmp_path / "cache.h5").read_bytes()
    (tmp_path / "cache.h5").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="not a complete HDF5 file"):
        FeatureCache(tmp_path / "cache.h5")


@pytest.fixture(scope="module")
def bundled():
    """The bundled cache, the objects that are trained on and those that are tested on."""
    pretrain, test = SweetHome3D(ROOT, "pretrain"), SweetHome3D(ROOT, "test")
    return FeatureCache(test.features_path), pretrain, test


def test_bundled_cache_has_every_object_and_class(bundled):
    cache, pretrain, test = bundled
    ids = pretrain.ids + test.ids
    images, texts, classes = cache.image_table(ids), cache.text_table(ids), cache.class_table(test.class_names)
    assert len(images) == len(texts) == 820
    assert images.shape[2] == 1280 and texts.shape[2] == 384 and classes.shape == (20, 60, 384)
    assert images.shape[1] > 1 and images.isfinite().all() and (images.norm(dim=-1) > 1).all()
    torch.testing.assert_close(texts.norm(dim=-1), torch.ones(texts.shape[:2]), atol=0.01, rtol=0)
    assert set(cache.templates()) <= set(TEMPLATES) and len(cache.templates()) == texts.shape[1]
    assert cache.info["image"]["licence"] == cache.info["text"]["licence"] == "Apache-2.0"
    assert cache.path.stat().st_size < 16e6


def test_bundled_views_are_of_their_object_and_differ(bundled):
    cache, _, test = bundled
    views = F.normalize(cache.image_table(test.ids), dim=-1)
    to_own = torch.einsum("nvd,nd->nv", views[:, 1:], views[:, 0])
    assert 0.8 < to_own.mean() < 0.99
    nearest = (views[:, 1] @ views[:, 0].T).argmax(1)
    assert (nearest == torch.arange(len(views))).float().mean() > 0.9


def test_bundled_names_point_to_their_classes(bundled):
    """Chance is 0.05; a shuffled index or wrong pooling falls far below this."""
    cache, _, test = bundled
    names = F.normalize(cache.text_table(test.ids).mean(1), dim=-1)
    classes = F.normalize(cache.class_table(test.class_names).mean(1), dim=-1)
    accuracy = ((names @ classes.T).argmax(1) == test.labels).float().mean()
    assert 0.70 < accuracy < 0.85


def test_bundled_pictures_tell_the_class(bundled):
    """Nearest class mean of the training pictures."""
    cache, pretrain, test = bundled
    known = F.normalize(cache.image_table(pretrain.ids)[:, 0], dim=-1)
    centres = torch.stack([known[pretrain.labels == label].mean(0) for label in range(20)])
    seen = F.normalize(cache.image_table(test.ids)[:, 0], dim=-1)
    accuracy = ((seen @ F.normalize(centres, dim=-1).T).argmax(1) == test.labels).float().mean()
    assert accuracy > 0.6
