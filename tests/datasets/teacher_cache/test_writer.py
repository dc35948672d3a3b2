"""Writing a teacher cache: what is written comes back, and the same features give the same bytes."""

import h5py
import numpy as np
import pytest
import torch

from pointrecon.datasets.teacher_cache.reader import FORMAT, FeatureCache, made_of_hash
from pointrecon.datasets.teacher_cache.writer import CHUNK_BYTES, ImageFeatures, TextFeatures, write_features
from pointrecon.utils.errors import InputError

IDS = ["b", "a", "c", "ü"]
RANDOM = np.random.RandomState(0)
FEATURES = RANDOM.randn(4, 3, 32).astype(np.float32)
TEXT = TextFeatures(
    ids=IDS,
    names=["chair", "lamp", "chair", "rug"],
    features=RANDOM.randn(3, 2, 8).astype(np.float32),
    templates=["{}.", "A {}."],
    class_names=["seat", "light"],
    class_features=RANDOM.randn(2, 3, 8).astype(np.float32),
    class_templates=["{}", "A {}", "The {}"],
    info={"teacher.model": "reader"},
)


def image(*cuts, **info):
    return ImageFeatures(IDS, np.split(FEATURES, cuts), {"teacher.model": "eye", "torch": torch.__version__, **info})


def test_blocks_come_back_by_id_in_float16(tmp_path):
    write_features(tmp_path / "cache.h5", image(1, 1, 3))
    cache = FeatureCache(tmp_path / "cache.h5")
    expected = torch.from_numpy(FEATURES[[3, 0]].astype(np.float16))
    assert torch.equal(cache.image_table(["ü", "b"], dtype=cache.image_dtype), expected)
    assert torch.equal(cache.image_table(["ü", "b"]), expected.float())


@pytest.mark.parametrize("factor", [1e-7, 1e4, 1e7])
@pytest.mark.parametrize("cuts", [(), (2,), (1, 3)])
def test_features_that_half_precision_would_change_are_kept_in_float32(tmp_path, factor, cuts):
    """Also if only the last of them is such a one, when the others are in the file already."""
    features = FEATURES.copy()
    features[3] *= factor
    write_features(tmp_path / "cache.h5", ImageFeatures(IDS, np.split(features, cuts)))
    cache = FeatureCache(tmp_path / "cache.h5")
    table = cache.image_table(IDS, dtype=cache.image_dtype)
    if factor == 1e4:
        assert table.dtype == torch.float16
    else:
        assert table.dtype == torch.float32 and torch.equal(table[3], torch.from_numpy(features[3]))
    torch.testing.assert_close(table.float(), torch.from_numpy(features), rtol=1e-3, atol=0)


def test_text_comes_back_bit_for_bit(tmp_path):
    write_features(tmp_path / "cache.h5", text=TEXT)
    cache = FeatureCache(tmp_path / "cache.h5")
    assert torch.equal(cache.text_table(["c", "ü", "a"]), torch.from_numpy(TEXT.features[[0, 2, 1]]))
    assert torch.equal(cache.class_table(["light"]), torch.from_numpy(TEXT.class_features[1:]))


def test_same_features_give_the_same_bytes(tmp_path):
    for name, cuts in (("one.h5", (2,)), ("two.h5", (2,))):
        write_features(tmp_path / name, image(*cuts), TEXT)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()


def test_what_is_noted_and_its_hash(tmp_path):
    write_features(tmp_path / "cache.h5", image(**{"transform.seed": "0"}), TEXT)
    cache = FeatureCache(tmp_path / "cache.h5")
    assert cache.info["image"] == {"teacher.model": "eye", "transform.seed": "0", "torch": str(torch.__version__)}
    assert cache.hashes["image"] == made_of_hash(cache.info["image"]) != cache.hashes["text"]
    assert made_of_hash({"teacher.model": "eye", "torch": "1"}) == made_of_hash({"torch": "2", "teacher.model": "eye"})


def test_file_is_laid_out_as_described(tmp_path):
    count = CHUNK_BYTES // (2 * 32) + 500
    many = ImageFeatures([str(row) for row in range(count)], [np.zeros((count, 3, 32))])
    write_features(tmp_path / "many.h5", many)
    write_features(tmp_path / "few.h5", image(), TEXT)
    with h5py.File(tmp_path / "many.h5") as file:
        assert file["image/features"].chunks == (CHUNK_BYTES // 64, 1, 32)
    with h5py.File(tmp_path / "few.h5") as file:
        assert file.attrs["format"] == FORMAT
        assert file["image/features"].dtype == np.float16 and file["text/features"].dtype == np.float32
        assert file["image/ids"] == file["text/ids"]  # two names of one list
        assert file["text/names"].asstr()[:].tolist() == ["chair", "lamp", "rug"]


def test_a_failure_leaves_no_file(tmp_path):
    def blocks():
        yield FEATURES[:2]
        raise InputError("a piece is damaged")

    with pytest.raises(InputError, match="damaged"):
        write_features(tmp_path / "cache.h5", ImageFeatures(IDS, blocks()))
    assert not list(tmp_path.iterdir())
