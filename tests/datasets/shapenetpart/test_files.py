"""The distributed files of ShapeNetPart, in miniature: lists, objects, and the file that they are packed into."""

import json

import h5py
import numpy as np
import pytest

from pointrecon.datasets.packed import places
from pointrecon.datasets.shapenetpart.files import CATEGORIES, FOLDER, Files, PackedObjects, read_object
from pointrecon.utils.errors import InputError

SYNSETS = {name: f"{number:08d}" for number, name in enumerate(CATEGORIES, start=2691156)}
AIRPLANE, TABLE = SYNSETS["Airplane"], SYNSETS["Table"]


def write_object(path, category, num_points, end="\n"):
    random = np.random.RandomState(num_points)
    rows = random.randn(num_points, 7)
    rows[:, 6] = random.choice(list(CATEGORIES[category]), num_points)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes("".join(" ".join(f"{value:.6f}" for value in row) + end for row in rows).encode())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two airplanes to train on and one to test, a table to train on and one to validate."""
    folder = tmp_path / "data" / FOLDER
    (folder / "train_test_split").mkdir(parents=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    lines = [f"{name}\t{synset}" for name, synset in SYNSETS.items()]
    (folder / "synsetoffset2category.txt").write_text("\n".join(lines) + "\n")
    lists = {"train": ["a1", "t1", "a2"], "val": ["t2"], "test": ["a3"]}
    for name, objects in lists.items():
        entries = []
        for item in objects:
            category = "Airplane" if item[0] == "a" else "Table"
            entries.append(f"shape_data/{SYNSETS[category]}/{item}")
            write_object(folder / SYNSETS[category] / f"{item}.txt", category, 20 + 5 * int(item[1]))
        list_path(folder, name).write_text(json.dumps(entries))
    return folder


def list_path(folder, name):
    return folder / "train_test_split" / f"shuffled_{name}_file_list.json"


def test_lists(folder):
    files = Files(folder)
    assert files.keys["train"] == [f"{AIRPLANE}/a1", f"{TABLE}/t1", f"{AIRPLANE}/a2"]
    assert files.keys["val"] == [f"{TABLE}/t2"] and files.keys["test"] == [f"{AIRPLANE}/a3"]
    assert files.category_of(f"{AIRPLANE}/a1") == 0 and files.category_of(f"{TABLE}/t1") == 15
    assert files.path_of(f"{TABLE}/t1").is_file()


def test_categories_have_the_published_parts():
    parts = [part for labels in CATEGORIES.values() for part in labels]
    assert parts == list(range(50)) and list(CATEGORIES) == sorted(CATEGORIES)
    assert [len(labels) for labels in CATEGORIES.values()] == [4, 2, 2, 4, 4, 3, 3, 2, 4, 2, 6, 2, 3, 3, 3, 3]


def test_text_of_any_kind_of_line_end_is_read(folder):
    expected = Files(folder).digest()
    path = folder / "synsetoffset2category.txt"
    path.write_bytes(path.read_text().strip().replace("\n", "\r\n").encode())
    assert Files(folder).digest() == expected
    path = folder / AIRPLANE / "a1.txt"
    points, _ = read_object(path, 0)
    path.write_bytes(path.read_text().strip().replace("\n", "\r\n").encode())
    np.testing.assert_array_equal(read_object(path, 0)[0], points)


def test_object_is_what_the_file_holds(folder):
    path = folder / TABLE / "t1.txt"
    rows = [[float(word) for word in line.split()] for line in path.read_text().splitlines()]
    points, part = read_object(path, 15)
    np.testing.assert_allclose(points, np.array(rows)[:, :3], atol=1e-6)
    assert part.tolist() == [int(row[6]) for row in rows] and points.dtype == np.float32


def test_present_objects(folder):
    (folder / TABLE / "t1.txt").write_text("")
    (folder / AIRPLANE / "a1.txt").unlink()
    (folder / AIRPLANE / "notes.md").write_text("x")
    assert Files(folder).present() == {f"{AIRPLANE}/a2", f"{AIRPLANE}/a3", f"{TABLE}/t2"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("synsetoffset2category.txt", "Airplan\t02691156\n", "category 'Airplan'; did you mean 'Airplane'"),
        ("synsetoffset2category.txt", "Airplane 02691156 1\n", "has the line 'Airplane 02691156 1'"),
        ("synsetoffset2category.txt", "\n", "is empty"),
        ("train_test_split/shuffled_train_file_list.json", '["shape_data/0269', "not valid JSON"),
        ("train_test_split/shuffled_train_file_list.json", "{}", "must hold a JSON list"),
        ("train_test_split/shuffled_train_file_list.json", "[3]", "lists 3, but"),
        ("train_test_split/shuffled_train_file_list.json", '["02691156/a1"]', "lists '02691156/a1', but"),
        ("train_test_split/shuffled_val_file_list.json", '["shape_data/99999999/a1"]', "with a synset of"),
        ("train_test_split/shuffled_val_file_list.json", f'["shape_data/{AIRPLANE}/a1"]', "1 of the 1 test objects"),
    ],
)
def test_damaged_list_is_refused_by_name(folder, name, content, message):
    (folder / name).write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        Files(folder)
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["synsetoffset2category.txt", "train_test_split/shuffled_test_file_list.json"])
def test_missing_list_says_where_it_comes_from(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=rf"there is no '.*{name}'.*shapenet\.cs\.stanford\.edu"):
        Files(folder)


def spoil(line):
    def edit(lines):
        return [*lines[:4], line, *lines[5:]]

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (None, "is missing"),
        (lambda lines: [], "is empty"),
        (lambda lines: [*lines[:-1], lines[-1][:30]], "cannot be read"),
        (spoil("0.1 0.2 x 0 0 1 0"), "cannot be read"),
        (lambda lines: [line.rsplit(" ", 1)[0] for line in lines], "has 6 numbers a line, but must have 7"),
        (spoil("0.1 nan 0.3 0 0 1 0"), "has NaN or infinite"),
        (spoil("0.1 0.2 0.3 0 0 1 4"), "part label 4 in line 5, but the parts of Airplane are 0 to 3"),
        (spoil("0.1 0.2 0.3 0 0 1 1.5"), "part label 1.5 in line 5"),
    ],
)
def test_broken_object_is_refused_by_name(folder, edit, message):
    path = folder / AIRPLANE / "a2.txt"
    if edit is None:
        path.unlink()
    else:
        path.write_text("\n".join(edit(path.read_text().splitlines())))
    with pytest.raises(InputError, match=message) as caught:
        read_object(path, 0)
    assert "a2.txt" in str(caught.value)
    with pytest.raises(InputError, match=message):
        PackedObjects(Files(folder), "raise")
    assert not (folder / "packed").exists() or not list((folder / "packed").iterdir())


def test_packed_file_holds_every_object(folder):
    files = Files(folder)
    packed = PackedObjects(files, "raise")
    assert packed.path == folder / "packed" / "shapenetpart.h5" and len(packed.row_of) == 5
    for key in packed.row_of:
        points, part = read_object(files.path_of(key), files.category_of(key))
        np.testing.assert_array_equal(packed.read(key)[0], points)
        np.testing.assert_array_equal(packed.read(key)[1], part)
        assert packed.read(key)[1].dtype == np.int64


def test_second_start_reads_no_object_file(folder):
    PackedObjects(Files(folder), "raise")
    for synset in (AIRPLANE, TABLE):
        for path in (folder / synset).iterdir():
            path.unlink()
    packed = PackedObjects(Files(folder), "raise")
    assert len(packed.read(f"{AIRPLANE}/a1")[0]) == 25


def test_packed_again_when_the_lists_change_or_the_copy_is_damaged(folder):
    path = PackedObjects(Files(folder), "raise").path
    list_path(folder, "test").write_text(f'["shape_data/{TABLE}/t9"]')
    write_object(folder / TABLE / "t9.txt", "Table", 31)
    assert f"{TABLE}/t9" in PackedObjects(Files(folder), "raise").row_of
    with open(path, "r+b") as file:
        file.truncate(500)
    assert len(PackedObjects(Files(folder), "raise").read(f"{TABLE}/t9")[0]) == 31


def test_packed_again_when_a_text_file_is_rewritten(folder):
    first = PackedObjects(Files(folder), "raise").read(f"{AIRPLANE}/a1")[0]
    path = folder / AIRPLANE / "a1.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[1:], lines[0]]) + "\n")
    again = PackedObjects(Files(folder), "raise").read(f"{AIRPLANE}/a1")[0]
    np.testing.assert_array_equal(again, np.roll(first, -1, axis=0))


def test_packed_into_the_cache_if_the_folder_cannot_be_written(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(places, "is_writable", lambda path: folder not in path.parents)
    assert PackedObjects(Files(folder), "raise").path.is_relative_to(tmp_path / "cache" / "recon")
    assert not (folder / "packed").exists()


def test_skipped_objects_are_named_and_tried_again(folder, caplog):
    path = folder / AIRPLANE / "a2.txt"
    content = path.read_text()
    path.write_text("nothing")
    assert f"{AIRPLANE}/a2" not in PackedObjects(Files(folder), "skip").row_of
    assert "a2.txt" in caplog.text
    with pytest.raises(InputError, match=r"a2\.txt"):
        PackedObjects(Files(folder), "raise")
    path.write_text(content)
    assert f"{AIRPLANE}/a2" in PackedObjects(Files(folder), "raise").row_of


def test_nothing_that_can_be_read_is_an_error(folder):
    for synset in (AIRPLANE, TABLE):
        for path in (folder / synset).iterdir():
            path.unlink()
    with pytest.raises(InputError, match="no object of"):
        PackedObjects(Files(folder), "skip")


def test_damaged_object_of_the_packed_file_is_named(folder):
    path = PackedObjects(Files(folder), "raise").path
    with h5py.File(path, "a") as file:
        file["part"][0] = 77
        file["points"][30, 1] = 1e30
    packed = PackedObjects(Files(folder), "raise")
    for key in (f"{AIRPLANE}/a1", f"{TABLE}/t1"):
        with pytest.raises(InputError, match=rf"object '{key}' .* is damaged"):
            packed.read(key)


@pytest.mark.parametrize("offsets", [[0, 5, 3, 10, 20, 130], [0, 1, 2], [1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5]])
def test_offsets_that_do_not_fit_are_made_again(folder, offsets):
    path = PackedObjects(Files(folder), "raise").path
    with h5py.File(path, "a") as file:
        good = file["offsets"][:]
        del file["offsets"]
        file["offsets"] = offsets
    PackedObjects(Files(folder), "raise")
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["offsets"][:], good)


@pytest.mark.parametrize("name", ["..", "a\\\\b"])
def test_names_that_lead_elsewhere_are_refused(folder, name):
    list_path(folder, "test").write_text(f'["shape_data/{TABLE}/{name}"]')
    with pytest.raises(InputError, match="no plain name"):
        Files(folder)
