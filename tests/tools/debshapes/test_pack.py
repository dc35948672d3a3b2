"""Packing: the files belong together, their bytes repeat, and the checksum is that of the content."""

import json

import h5py
import numpy as np
import pytest

from pointrecon.datasets.sets.manifest import MANIFEST, POINTS, VIEWS, read_manifest
from pointrecon.tools.debshapes.pack import Entry, pack_shapes
from pointrecon.tools.debshapes.shape import Shape, to_bytes
from pointrecon.utils.errors import InputError


def make_entries(folder, count=5, seed=0):
    """Entries with random points and with pictures of different lengths that are no pictures."""
    random = np.random.RandomState(seed)
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number in range(count):
        views = [bytes([number, view]) * (view + 1) for view in range(4)]
        path = folder / f"{number}.npz"
        path.write_bytes(to_bytes(Shape(random.randn(64, 3).astype(np.float16), views, 1.0)))
        fields = ("package", "version", "path", "name", "text", "licence", "creator")
        entries.append(Entry({"id": f"toys:{number}", **{key: f"{key} é {number}" for key in fields}}, path))
    return entries


def test_files_hold_what_was_packed(tmp_path):
    entries = make_entries(tmp_path / "work")
    pack_shapes(tmp_path / "out", entries)
    rows, key = read_manifest(tmp_path / "out")
    assert rows == [entry.row for entry in entries]
    with h5py.File(tmp_path / "out" / POINTS) as points, h5py.File(tmp_path / "out" / VIEWS) as views:
        assert points["points"].shape == (5, 64, 3) and points["points"].id.get_offset() is not None
        assert [name.decode() for name in points["ids"]] == [row["id"] for row in rows]
        np.testing.assert_array_equal(points["points"][3], np.load(entries[3].file)["points"])
        ends = views["ends"][:]
        assert views["webp"][ends[2, 0] : ends[2, 1]].tobytes() == bytes([2, 1]) * 2
        assert views["webp"].id.get_offset() is not None, "it can be mapped"
        assert points.attrs["manifest"] == views.attrs["manifest"] == key


def test_bytes_and_checksum_depend_on_the_content_alone(tmp_path):
    sums = [pack_shapes(tmp_path / name, make_entries(tmp_path / name / "work")) for name in ("a", "b")]
    assert sums[0] == sums[1]
    for name in (MANIFEST, POINTS, VIEWS):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert pack_shapes(tmp_path / "c", make_entries(tmp_path / "c" / "work", seed=1)) != sums[0]
    assert pack_shapes(tmp_path / "d", make_entries(tmp_path / "d" / "work")[::-1]) != sums[0]


def test_refuses_nothing_and_damaged_shapes(tmp_path):
    with pytest.raises(InputError, match="no shape is left"):
        pack_shapes(tmp_path, [])
    entries = make_entries(tmp_path / "work")
    entries[2].file.write_bytes(b"half")
    with pytest.raises(InputError, match="2.npz' is damaged; remove it"):
        pack_shapes(tmp_path / "out", entries)
    assert not list((tmp_path / "out").glob("*")), "whole or not at all"


def test_a_manifest_is_refused_by_its_line(tmp_path):
    with pytest.raises(InputError, match="prepare_data.py"):
        read_manifest(tmp_path)
    for text in ("", "no json\n", json.dumps({"id": "a"}) + "\n", "[]\n"):
        (tmp_path / MANIFEST).write_text(text)
        with pytest.raises(InputError, match="damaged"):
            read_manifest(tmp_path)
