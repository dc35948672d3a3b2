"""A user's folder as a data set."""

import os

import numpy as np
import pytest

from pointrecon.datasets import DATASETS
from pointrecon.datasets.folder.folder import Folder
from pointrecon.datasets.folder.listing import list_files, words_of
from pointrecon.datasets.folder.up_axis import ROTATIONS, guess_up
from pointrecon.utils.errors import InputError


def write_cloud(path, seed, stretch):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.random.RandomState(seed).randn(200, 3) * stretch)


@pytest.fixture
def root(tmp_path):
    for number in range(5):
        write_cloud(tmp_path / "own" / "rod" / f"rod_{number}.npy", number, [0.1, 1, 0.1])
        write_cloud(tmp_path / "own" / "Floor plate" / f"thin_sheet_{number}.npy", number, [1, 0.1, 1])
    write_cloud(tmp_path / "own" / "loose.npy", 9, 1)
    (tmp_path / "own" / "rod" / "broken.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "own" / "rod" / "notes.docx").write_bytes(b"x")
    return tmp_path / "own"


def test_sub_folders_are_classes(root):
    data = Folder(str(root), up="y", num_stored=64, jobs=1)
    assert data.class_names == ["Floor plate", "rod"] and len(data) == 11 and data.num_skipped == 1
    assert dict(zip(data.ids, data.names, strict=True))["Floor plate/thin_sheet_0.npy"] == "thin sheet"
    assert (data.labels == -1).sum() == 1 and (data.split_of == "test").sum() == 2
    sample = data[0]
    assert sample["points"].shape == (64, 3) and float(sample["points"].norm(dim=1).max()) == pytest.approx(1, abs=1e-3)
    assert DATASETS.get("Folder") is Folder


def test_only_changed_files_are_read_again(root, monkeypatch):
    first = Folder(str(root), up="y", num_stored=64, jobs=1)
    monkeypatch.setattr(
        "pointrecon.datasets.folder.convert._sample_all",
        lambda items, *_: pytest.fail(str(items)) if items else iter(()),
    )
    second = Folder(str(root), up="y", num_stored=64, jobs=1)
    assert (first[3]["points"] == second[3]["points"]).all()
    monkeypatch.undo()
    write_cloud(root / "rod" / "rod_3.npy", 77, [1, 1, 1])
    os.utime(root / "rod" / "rod_3.npy", ns=(1, 1))
    third = Folder(str(root), up="y", num_stored=64, jobs=1)
    row = third.ids.index("rod/rod_3.npy")
    assert not (first[row]["points"] == third[row]["points"]).all()
    assert (first[row - 1]["points"] == third[row - 1]["points"]).all()


def test_the_axis_that_was_up_is_up(root):
    as_is, turned = (Folder(str(root), up=axis, num_stored=64, jobs=1)[0]["points"] for axis in ("y", "z"))
    assert (turned[:, 1] == as_is[:, 2]).all() and (turned[:, 2] == -as_is[:, 1]).all()


def test_a_table_says_class_words_and_split(root):
    (root / "shapes.csv").write_text(
        "\ufeffpath,label,text,split\nrod/rod_0.npy,stick,a long stick,train\nrod/rod_1.npy,stick,,test\n",
        encoding="utf-8",
    )
    items = list_files(root)
    assert [(item.id, item.label, item.text, item.split) for item in items] == [
        ("rod/rod_0.npy", "stick", "a long stick", "train"),
        ("rod/rod_1.npy", "stick", "rod", "test"),
    ]
    data = Folder(str(root), up="y", num_stored=64, jobs=1)
    assert list(data.split_of) == ["train", "test"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,label\na.npy,x\n", "needs 'path'"),
        ("path,split\na.npy,trian\n", "split is 'trian'"),
        ("path,label\na.npy,x\na.npy,y\n", "listed twice"),
        ("path\n", "lists no file"),
        ("path,text\n\na.npy,a red, big chair\n", "line 3 has 3 cells, but there are 2 columns"),
        ('path,label\na.npy,"x\nb.npy,y\n', "cannot be read as a CSV table"),
        ("path,label\n,x\n", "line 2 names no file"),
    ],
)
def test_bad_tables(tmp_path, table, message):
    (tmp_path / "shapes.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        list_files(tmp_path)


def test_splits_may_be_folders(tmp_path):
    for split in ("train", "test"):
        write_cloud(tmp_path / "chair" / split / "a.npy", 0, 1)
    assert {item.id: (item.label, item.split) for item in list_files(tmp_path)} == {
        "chair/test/a.npy": ("chair", "test"),
        "chair/train/a.npy": ("chair", "train"),
    }


def test_links_in_circles_end(tmp_path):
    write_cloud(tmp_path / "a" / "x.npy", 0, 1)
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert len(list_files(tmp_path)) == 1


@pytest.mark.parametrize("what", ["nothing", "missing", "broken", "up"])
def test_what_cannot_be_used_is_one_sentence(tmp_path, what):
    folder, options = tmp_path / "f", {}
    if what != "missing":
        folder.mkdir()
    if what == "broken":
        (folder / "a.npy").write_bytes(b"x")
    if what == "up":
        write_cloud(folder / "a.npy", 0, 1)
        options = {"up": "w"}
    message = {
        "nothing": "no file that can be read",
        "missing": "is not there",
        "broken": "none of the 1 files",
        "up": "up is",
    }
    with pytest.raises(InputError, match=message[what]):
        Folder(str(folder), num_stored=64, jobs=1, **options)


def table_cloud(seed):
    """A table: a wide top on four legs, +y up."""
    random = np.random.RandomState(seed)
    top = np.c_[random.rand(600) - 0.5, 0.7 + 0.03 * random.rand(600), 0.6 * random.rand(600) - 0.3]
    leg = np.c_[0.04 * random.rand(100), 0.7 * random.rand(100), 0.04 * random.rand(100)]
    return np.concatenate([top, *(leg + [x, 0, z] for x in (-0.5, 0.46) for z in (-0.3, 0.26))])


def cone_cloud(seed):
    """Standing on its base, +y up."""
    random = np.random.RandomState(seed)
    height, turn = 1 - np.sqrt(random.rand(1000)), 2 * np.pi * random.rand(1000)
    radius = 0.4 * (1 - height)
    return np.c_[radius * np.cos(turn), height, radius * np.sin(turn)]


@pytest.mark.parametrize(
    ("axis", "cloud"),
    [("y", table_cloud), ("z", table_cloud), ("-y", cone_cloud), ("-z", cone_cloud), ("z", cone_cloud)],
)
def test_up_is_guessed_from_how_things_stand(axis, cloud):
    clouds = [cloud(seed) @ ROTATIONS[axis] for seed in range(6)]  # the inverse of a rotation is its transpose
    guess = guess_up(clouds, [".npy"] * 6)
    assert guess.axis == axis, str(guess)


def test_words_of_names():
    assert (
        words_of("officeChair_02") == "office chair"
        and words_of("000123_ab12f") == ""
        and words_of("tv-stand") == "tv stand"
    )


def copy_cloud(root, source, target):
    (root / target).parent.mkdir(parents=True, exist_ok=True)
    (root / target).write_bytes((root / source).read_bytes())


def test_copies_of_a_file_are_all_tested_or_all_trained_on(root):
    alone = Folder(str(root), up="y", num_stored=64, jobs=1)
    (tested,) = [name for name, part in zip(alone.ids, alone.split_of, strict=True) if part == "test" and "rod" in name]
    for number in range(3):
        copy_cloud(root, tested, f"rod/copy_{number}.npy")
    data = Folder(str(root), up="y", num_stored=64, jobs=1)
    copies = [name for name in data.ids if name == tested or "copy" in name]
    parts = {data.split_of[data.ids.index(name)] for name in copies}
    assert len(copies) == 4 and len(parts) == 1
    assert len({data.groups[data.ids.index(name)] for name in copies}) == 1 and len(set(data.groups)) == len(data) - 3
    assert alone.groups is None


def test_copies_of_training_files_among_those_for_testing_are_refused(root):
    for name in ("rod", "Floor plate"):
        (root / "train" / name).parent.mkdir(exist_ok=True)
        (root / name).rename(root / "train" / name)
    copy_cloud(root, "train/rod/rod_1.npy", "test/rod/other.npy")
    copy_cloud(root, "train/rod/rod_2.npy", "test/rod/another.npy")
    write_cloud(root / "test" / "rod" / "new.npy", 50, 1)
    with pytest.raises(InputError, match="2 of the 3 test objects of .*own' are training objects as well"):
        Folder(str(root), up="y", num_stored=64, jobs=1)
