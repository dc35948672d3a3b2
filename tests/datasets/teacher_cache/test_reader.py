"""The teacher cache: what is written comes back by id, what is not there is refused; the bundled one fits its data."""

import h5py
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pointrecon.datasets.prompts import TEMPLATES
from pointrecon.datasets.teacher_cache.reader import OLD_FORMAT, FeatureCache
from pointrecon.datasets.teacher_cache.writer import ImageFeatures, TextFeatures, write_features
from pointrecon.utils.errors import InputError
from tests import ROOT
from tests.datasets import opened

DATA = ROOT / "data"
IDS = ["b", "a", "c"]
RANDOM = np.random.RandomState(0)
# Numbers that float16 holds.
FEATURES = RANDOM.randn(3, 4, 32).astype(np.float16).astype(np.float32)
INFO = {"teacher.model": "eye", "transform.seed": "3"}
PROMPTS = RANDOM.randn(2, 2, 8).astype(np.float32)  # of chair and lamp
CLASSES = RANDOM.randn(2, 3, 8).astype(np.float32)
TEXT = TextFeatures(
    ids=IDS,
    names=["chair", "lamp", "chair"],
    features=PROMPTS,
    templates=["{}.", "A {}."],
    class_names=["seat", "light"],
    class_features=CLASSES,
    class_templates=["{}", "A {}", "The {}"],
)


@pytest.fixture
def cache(tmp_path):
    write_features(tmp_path / "cache.h5", ImageFeatures(IDS, [FEATURES], INFO), TEXT)
    return FeatureCache(tmp_path / "cache.h5")


def quantize(vectors):
    """(..., D) int8 and the (...) scale of each vector, as files of the old format have them."""
    scale = np.abs(vectors).max(-1) / 127
    return np.rint(vectors / scale[..., None]).astype(np.int8), scale.astype(np.float32)


@pytest.fixture
def old_cache(tmp_path):
    """A file of the old format."""
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["format"] = OLD_FORMAT
        strings = {"dtype": h5py.string_dtype()}
        for kind, prefix, vectors in (("image", "", FEATURES), ("text", "", PROMPTS), ("text", "class_", CLASSES)):
            file[f"{kind}/{prefix}features"], file[f"{kind}/{prefix}scale"] = quantize(vectors)
        for name, values in (("image/ids", IDS), ("text/ids", IDS), ("text/class_names", TEXT.class_names)):
            file.create_dataset(name, data=values, **strings)
        file["text/name_index"] = np.array([0, 1, 0], dtype=np.int32)
        file["image"].attrs["model"], file["image"].attrs["licence"] = "eye", "free"
    return FeatureCache(tmp_path / "old.h5")


def test_image_features_come_back_in_the_order_asked_for(cache):
    assert torch.equal(cache.image_table(["c", "b", "c"]), torch.from_numpy(FEATURES[[2, 0, 2]]))
    assert torch.equal(cache.image_table(IDS, num_views=2), torch.from_numpy(FEATURES[:, :2]))
    assert cache.info["image"] == INFO and cache.width("image") == 32 and cache.width("text") == 8


def test_text_features_come_back_by_id(cache):
    assert torch.equal(cache.text_table(["a", "b", "c"]), torch.from_numpy(PROMPTS[[1, 0, 0]]))
    assert torch.equal(cache.text_table(["a"], num_prompts=1), torch.from_numpy(PROMPTS[1:, :1]))
    table, rows = cache.name_table(["c", "b"])
    assert torch.equal(table, torch.from_numpy(PROMPTS[:1])) and rows.tolist() == [0, 0]
    assert cache.templates() == TEXT.templates


def test_class_features_come_back_by_name(cache):
    assert torch.equal(cache.class_table(["light", "seat"]), torch.from_numpy(CLASSES[::-1].copy()))


def assert_near(table, expected):
    """Within half a quantisation step of each vector."""
    step = np.abs(expected).max(-1, keepdims=True) / 127
    assert table.dtype == torch.float32 and table.shape == expected.shape
    assert (np.abs(table.numpy() - expected) <= step * 0.5001).all()


def test_the_old_format_is_still_read(old_cache):
    assert_near(old_cache.image_table(["c", "b"], num_views=3, dtype=old_cache.image_dtype), FEATURES[[2, 0], :3])
    assert_near(old_cache.text_table(["a", "b", "c"]), PROMPTS[[1, 0, 0]])
    assert_near(old_cache.class_table(["light", "seat"]), CLASSES[::-1])
    assert old_cache.info["image"] == {"teacher.model": "eye", "licence": "free"} and old_cache.hashes["image"] == ""


def test_differences_are_named(cache, old_cache):
    wanted = {"teacher.model": "nose", "transform.seed": "3", "transform.published": "true"}
    assert cache.differences("image", INFO) == []
    assert cache.differences("image", wanted) == ["teacher.model: given 'nose', cache 'eye'"]
    assert len(cache.differences("image", {"teacher.model": "nose", "transform.seed": "4"})) == 2
    assert old_cache.differences("image", wanted) == ["teacher.model: given 'nose', cache 'eye'"]
    long = cache.differences("image", {"teacher.model": "x" * 500})
    assert len(long[0]) < 200 and "..." in long[0]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda cache: cache.image_table(["a", "x", "y"]), "2 of 3 objects, first 'x'.*cache_teacher_features"),
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
    write_features(tmp_path / "cache.h5", ImageFeatures(IDS, [FEATURES]))
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
    write_features(tmp_path / "cache.h5", text=TEXT)
    data = (tmp_path / "cache.h5").read_bytes()
    (tmp_path / "cache.h5").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="not a complete HDF5 file"):
        FeatureCache(tmp_path / "cache.h5")


@pytest.fixture(scope="module")
def bundled():
    """The bundled cache, the objects that are trained on and those that are tested on."""
    pretrain, test = (opened("SweetHome3D", DATA, split) for split in ("pretrain", "test"))
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


def test_the_width_of_samples_features_and_what_is_missing(cache):
    assert cache.missing("image", ["a", "x"]) == ["x"] and cache.missing("text", IDS) == []


@pytest.mark.parametrize(
    ("edit", "ask", "message"),
    [
        (lambda file: file["text/name_index"].__setitem__(0, -1), "text_table", "has the name -1"),
        (lambda file: file["text/name_index"].__setitem__(0, 2), "text_table", "is damaged"),
        (lambda file: file.pop("image/features"), "image_table", "is damaged"),
        (lambda file: file.move("image/features", "image/other"), "image_table", "is damaged"),
        (lambda file: file.pop("image/scale"), "image_table", "it has no scale of its features"),
    ],
)
def test_damage_is_named(old_cache, edit, ask, message):
    with h5py.File(old_cache.path, "a") as file:
        edit(file)
    with pytest.raises(InputError, match=rf"old\.h5' .*{message}"):
        getattr(old_cache, ask)(IDS)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e35])
def test_features_that_are_no_finite_numbers_are_refused(old_cache, value):
    with h5py.File(old_cache.path, "a") as file:
        file["image/scale"][0, 0] = value
        kept = file["text/features"][:].astype(np.uint64)
        del file["text/features"]
        file["text/features"] = kept
        file.create_dataset("text/names", data=["chair", "lamp"], dtype=h5py.string_dtype())
    with pytest.raises(InputError, match="features are no finite numbers"):
        FeatureCache(old_cache.path).image_table(IDS)
    with pytest.raises(InputError, match="features are of type uint64"):
        FeatureCache(old_cache.path).name_table(IDS)
