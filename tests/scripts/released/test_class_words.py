"""Features of classes that are described by several words."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from released.class_words import read_words, run

from pointrecon.datasets.sets.sweethome3d import SweetHome3D
from pointrecon.utils.errors import InputError
from tests import ROOT

HERE = ROOT / "data" / "sweethome3d"


def test_the_shipped_file_has_the_words_beside_it_for_all_classes():
    table = read_words(HERE / "class_words.yaml")
    with np.load(HERE / "class_words.npz") as file:
        assert file["names"].tolist() == list(table)
        assert file["words"].tolist() == [", ".join(words) for words in table.values()]
        np.testing.assert_allclose(np.linalg.norm(file["features"], axis=1), 1, atol=1e-5)
        names = file["names"].tolist()
    assert sorted(names) == sorted(SweetHome3D(str(ROOT / "data")).class_names)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "the file has no list"), ("a: b", "a has no list"), ("a: []", "a has no"), ("a: [1]", "a has no"),
     ("a: [b", "not valid YAML"), ("- a", "the file has no list")],
)  # fmt: skip
def test_other_files_are_refused(tmp_path, text, message):
    path = tmp_path / "words.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_words(path)
    with pytest.raises(InputError, match="^table of words .* does not exist"):
        read_words(tmp_path / "none.yaml")


def test_a_class_has_the_mean_of_its_words(tmp_path, monkeypatch):
    rows = {"sofa": [1.0, 0.0], "couch": [0.0, 1.0], "lamp": [0.6, 0.8]}
    monkeypatch.setattr("pointrecon.words.encode_with_teacher", lambda words: np.array([rows[word] for word in words]))
    (tmp_path / "words.yaml").write_text("seat: [sofa, couch]\nlamp: [lamp]\n")
    run(argparse.Namespace(words=Path(tmp_path / "words.yaml"), out=tmp_path / "out.npz"))
    with np.load(tmp_path / "out.npz") as file:
        assert file["names"].tolist() == ["seat", "lamp"] and file["features"].dtype == np.float32
        np.testing.assert_allclose(file["features"], [[0.5**0.5, 0.5**0.5], [0.6, 0.8]], atol=1e-6)
