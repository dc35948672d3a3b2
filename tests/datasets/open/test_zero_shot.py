"""Test sets in every layout: classes in their order, labels, colours, and what is wrong is named."""

import json
import shutil

import h5py
import numpy as np
import pytest

from pointrecon.datasets.open.test_sets import test_part as find_test_part
from pointrecon.datasets.open.zero_shot import LVIS, MODELNET, SCAN, find_zero_shot_sets
from pointrecon.utils.errors import InputError
from tests.datasets.open.layouts import MINI, UIDS, make_ulip, make_uni3d, save_objects


@pytest.fixture
def mini(tmp_path):
    return shutil.copytree(MINI, tmp_path / "mini")


def sets_of(root, **options):
    return {one.name: one for one in find_zero_shot_sets(root, **options)}


@pytest.mark.parametrize("inner", ["", "meta_data"])
def test_openshape_as_its_own_loader_read_it(inner):
    expected = json.loads((MINI / "expected.json").read_text())
    found = sets_of(MINI / inner)
    assert list(found) == [LVIS, MODELNET, SCAN]
    for name, key in ((LVIS, "lvis"), (MODELNET, "modelnet40"), (SCAN, "scanobjectnn")):
        assert list(found[name].class_names) == expected[key]["classes"]
        assert found[name].labels.tolist() == expected[key]["labels"]
        assert found[name].class_features.shape == (len(expected[key]["classes"]), 16)
    assert found[LVIS].ids == expected["lvis"]["names"]
    points, colors = found[MODELNET].read(0)
    assert points.shape == (64, 3) and points.dtype == np.float32
    np.testing.assert_allclose(colors, expected["modelnet40"]["rgb"], atol=1e-5)
    points, colors = found[SCAN].read(3)
    assert len(points) == expected["scanobjectnn"]["points"] and colors is None


def test_uni3d_and_ulip(tmp_path):
    uni3d, ulip = sets_of(make_uni3d(tmp_path / "a")), sets_of(make_ulip(tmp_path / "b"))
    assert list(uni3d[LVIS].class_names) == ["Band_Aid", "chair"] and uni3d[LVIS].labels.tolist() == [1, 0]
    assert list(uni3d[MODELNET].class_names) == ["bathtub", "airplane", "night_stand"]
    assert uni3d[MODELNET].labels.tolist() == [0, 1, 2] and uni3d[MODELNET].class_features is None
    assert [len(uni3d[SCAN].read(row)[0]) for row in (0, 1)] == [50, 40] and (uni3d[SCAN].read(0)[1] == 0).all()
    assert list(ulip[LVIS].class_names) == ["Band_Aid", "Bible", "chair"] and ulip[LVIS].labels.tolist() == [2, 0]
    assert ulip[LVIS].notes == ("1 objects without a class were left out",)
    assert list(ulip[MODELNET].class_names) == ["airplane", "bathtub", "night_stand"]
    openshape = sets_of(MINI)[LVIS]
    for one in (uni3d, ulip):
        np.testing.assert_array_equal(one[LVIS].read(1)[0], openshape.read(1)[0])


def test_missing_files_are_an_error_or_counted(mini):
    file = next(mini.rglob(f"{UIDS[0][8:]}.npy"))
    file.unlink()
    with pytest.raises(InputError, match=r"1 of them are not there, the first is 'Objaverse/000-000"):
        find_zero_shot_sets(mini)
    found = sets_of(mini, skip_missing=True)[LVIS]
    assert len(found) == 1 and found.labels.tolist() == [0] and "1 of 2 objects" in found.notes[0]


def write_lvis(mini, change):
    path = mini / "meta_data" / "split" / "lvis.json"
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[0].update(data_path="/mnt/../../etc/passwd.npy"), "leaves the data's folder"),
        (lambda rows: rows[0].pop("category"), "object 0 of .*lacks 'uid' or 'category'"),
        (lambda rows: rows[0].update(category="Ball"), "holds features|every"),
        (lambda rows: rows.append(dict(rows[0], category="stool")), "has 3 classes"),
        (lambda rows: rows.append(rows[0]), "twice"),
        (lambda rows: rows.clear(), "no list of objects"),
    ],
)
def test_lists_that_do_not_fit(mini, change, message):
    write_lvis(mini, change)
    if "Ball" in str(json.loads((mini / "meta_data/split/lvis.json").read_text())):
        assert list(sets_of(mini)[LVIS].class_names) == ["Ball", "Band_Aid"]  # still two classes: not to be told
        return
    with pytest.raises(InputError, match=message):
        find_zero_shot_sets(mini)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda item: item.update(xyz=np.full((4, 3), np.nan)), "NaN"),
        (lambda item: item.update(xyz=np.zeros((0, 3))), "has no points; leave"),
        (lambda item: item.pop("xyz"), "no points 'xyz'"),
        (lambda item: item.update(rgb=np.zeros((3, 3))), "colours of shape"),
        (lambda item: item.update(rgb=np.full((64, 3), 300.0)), "not in 0..1"),
    ],
)
def test_objects_that_cannot_be_read_are_named(mini, change, message):
    from pointrecon.utils.files.safe_pickle import load_npy_objects

    file = next(mini.rglob(f"{UIDS[0][8:]}.npy"))
    item = load_npy_objects(file)
    change(item)
    save_objects(file, item)
    with pytest.raises(InputError, match=message) as caught:
        sets_of(mini)[LVIS].read(0)
    assert UIDS[0][8:] in str(caught.value)


def test_other_files_that_do_not_fit(mini, tmp_path):
    meta = mini / "meta_data"
    save_objects(meta / "scanobjectnn" / "xyz_label.npy", {"xyz": np.zeros((2, 5, 3)), "label": np.array([0, 15])})
    with pytest.raises(InputError, match=r"must lie in 0\.\.14"):
        find_zero_shot_sets(meta)
    shutil.rmtree(meta / "scanobjectnn")
    save_objects(meta / "modelnet40" / "cat_name_pt_feat.npy", {"airplane": {"open_clip_text_feat": np.ones((1, 4))}})
    with pytest.raises(InputError, match="has the class 'bathtub'"):
        find_zero_shot_sets(meta)
    (tmp_path / "empty").mkdir()
    for root, message in ((tmp_path / "empty", "no zero-shot test set"), (tmp_path / "gone", "is no folder")):
        with pytest.raises(InputError, match=message):
            find_zero_shot_sets(root)
    uni3d = make_uni3d(tmp_path / "u")
    lines = uni3d / "uni3d_data" / "objaverse_lvis" / "lvis_testset.txt"
    good = lines.read_text()
    lines.write_text(good.replace("chair", "chair, wooden"))
    assert sets_of(uni3d)[LVIS].class_names[1] == "chair, wooden"
    for wrong in (
        "chair,uid,/x.npy\n",
        "²,a,uid,/x.npy\n",
        "9" * 5000 + ",a,uid,/x.npy\n",
        "0,chair\n",
        good + good.replace("chair", "stool").replace("abc000", "abc009"),
    ):
        lines.write_text(wrong)
        with pytest.raises(InputError, match="line [13]"):
            find_zero_shot_sets(uni3d)


def test_test_objects_are_found_whatever_their_axes_scale_and_order(tmp_path):
    random = np.random.RandomState(0)
    clouds = (random.randn(2890, 12, 3) * random.rand(2890, 1, 3)).astype(np.float32)
    save_objects(tmp_path / "scanobjectnn" / "xyz_label.npy", {"xyz": clouds, "label": random.randint(0, 15, 2890)})
    whole = sets_of(tmp_path)[SCAN]
    with pytest.raises(InputError, match="2,309 training and 581"):
        find_test_part(whole, None)
    rows = np.sort(random.permutation(2890)[:20])
    published = clouds[rows][:, ::-1][..., [0, 2, 1]] * 3 + 1
    with h5py.File(tmp_path / "test.h5", "w") as file:
        file["data"] = published
    found = find_test_part(whole, tmp_path / "test.h5")
    assert found.ids == [str(row) for row in rows] and found.name == f"{SCAN} test" and "20 of 2890" in found.notes[0]
    np.testing.assert_array_equal(found.read(3)[0], clouds[rows[3]])
    small = whole.take(np.arange(5))
    assert find_test_part(small, None) is small
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = random.rand(3, 12, 3)
    with pytest.raises(InputError, match="no cloud"):
        find_test_part(whole, tmp_path / "other.h5")


@pytest.mark.parametrize("change", ["label", "xyz"])
def test_scans_that_are_no_lists_are_refused(tmp_path, change):
    cloud = np.zeros((5, 3), np.float32)
    content = {"xyz": [cloud, cloud + 1], "label": [1, 2]}
    content[change] = {"label": [[1], [1, 2]], "xyz": 3}[change]
    save_objects(tmp_path / "scanobjectnn" / "xyz_label.npy", content)
    with pytest.raises(InputError, match="no list of clouds and of labels"):
        find_zero_shot_sets(tmp_path)


def test_names_of_files_that_cannot_be_and_headers_of_no_end_are_refused(tmp_path):
    make_uni3d(tmp_path)
    path = tmp_path / "uni3d_data" / "objaverse_lvis" / "lvis_testset.txt"
    text = path.read_text()
    for name in ("{" * 300, "a\0b"):
        path.write_text(text.replace(UIDS[0], name))
        with pytest.raises(InputError, match="or is none; mend it"):
            find_zero_shot_sets(tmp_path)
    path.write_text(text)
    scans = tmp_path / "uni3d_data" / "scanobjectnn" / "xyz_label.npy"
    data = bytearray(scans.read_bytes())
    data[10:13] = b"{(L"  # an old header, word by word, whose brackets stay open
    scans.write_bytes(data)
    with pytest.raises(InputError, match="is not a complete .npy file"):
        find_zero_shot_sets(tmp_path)


def test_names_of_classes_that_are_no_texts_are_refused(tmp_path):
    make_ulip(tmp_path)
    path = tmp_path / "ULIP-2" / "objaverse_lvis" / "objaverse_lvis_metadata.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "all_keys": [["a"], "chair"]}))
    with pytest.raises(InputError, match="are no texts"):
        find_zero_shot_sets(tmp_path)
