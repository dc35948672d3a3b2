"""Words: from a table where no teacher is, centred as the network learnt them, and refused with the nearest known."""

import json
import types

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from pointrecon import words
from pointrecon.utils.errors import InputError

WORDS = ["armchair", "chair", "lamp", "table"]
FEATURES = np.eye(4, 6, dtype=np.float16) + np.float16(0.5)


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A table of four words, and no teacher."""
    save_file({"features": FEATURES}, tmp_path / words.TABLE, {"words": json.dumps(WORDS)})
    monkeypatch.setattr(words, "WEIGHTS", tmp_path)
    monkeypatch.setattr(words, "TABLE_WIDTH", FEATURES.shape[1])

    def refuse(*_):
        raise InputError("not installed")

    monkeypatch.setattr(words, "encode_with_teacher", refuse)
    words.load_table.cache_clear()
    yield tmp_path
    words.load_table.cache_clear()


def make_info(center=False, means=None):
    section = {"type": "CachedFeatures", "center": center}
    return types.SimpleNamespace(config={"teachers": {"text": section}}, feature_means=means or {}, path="a.pth")


def test_words_of_the_table(table):
    found = words.class_features(["Lamp", "chair"], make_info())
    wanted = FEATURES[[2, 1]].astype(np.float32)
    np.testing.assert_allclose(found, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-3)


@pytest.mark.parametrize(("word", "near"), [("chiar", "chair"), ("lamps", "lamp"), ("armchairs", "armchair")])
def test_an_unknown_word_is_refused_with_the_nearest_known(table, word, near):
    with pytest.raises(
        InputError, match=f"'{word}' is not among the 4 .* near it are: .*{near}.*pip install"
    ) as caught:
        words.class_features(["table", word], make_info())
    assert str(caught.value).count(". ") == 0


def test_neither_table_nor_teacher(table):
    (table / words.TABLE).unlink()
    words.load_table.cache_clear()
    if not (words.CHECKOUT_WEIGHTS / words.TABLE).is_file():
        with pytest.raises(InputError, match="there is no table of words"):
            words.class_features(["table"], make_info())


def test_labels_lose_their_mean_where_the_network_learnt_from_centred_features(table):
    found = words.class_features(["lamp", "chair", "table"], make_info(center=True))
    np.testing.assert_allclose(found.sum(0), 0, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_a_single_word_loses_what_training_subtracted_or_else_the_mean_of_the_table(table):
    plain = words.class_features(["lamp"], make_info())[0]
    mean = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    found = words.class_features(["lamp"], make_info(center=True, means={"text": mean}))[0]
    wanted = plain - mean.numpy()
    np.testing.assert_allclose(found, wanted / np.linalg.norm(wanted), atol=1e-5)
    wanted = plain - words.load_table()[1].mean(0)
    found = words.class_features(["lamp"], make_info(center=True))[0]
    np.testing.assert_allclose(found, wanted / np.linalg.norm(wanted), atol=1e-5)


@pytest.mark.filterwarnings("error")
def test_a_picture_that_is_read_only_is_copied():
    pixels = np.zeros((4, 5, 4), np.uint8)
    pixels.setflags(write=False)
    copy = words._read_pixels(pixels)
    assert torch.from_numpy(copy).shape == (4, 5, 3)
