"""Every way to spoil a file does something, and none needs the file to be sound."""

import json
import random
import struct
import zipfile
from io import BytesIO

import h5py
import numpy as np

from tests.fuzzing.mutations import (
    spoil_array,
    spoil_bytes,
    spoil_hdf5,
    spoil_leaf,
    spoil_safetensors,
    spoil_text,
    spoil_tree,
    spoil_zip,
)


def outcomes(function, value, count=200):
    return [function(value, random.Random(seed)) for seed in range(count)]


def test_bytes_and_texts():
    data, text = bytes(range(200)), "a: {b: [1, 2]}\nc: text\n"
    assert len({*outcomes(spoil_bytes, data)} - {data}) > 150 and len({*outcomes(spoil_text, text)} - {text}) > 100
    assert outcomes(spoil_bytes, b"") and outcomes(spoil_text, "")


def test_arrays_change_in_type_shape_and_values():
    spoilt = outcomes(spoil_array, np.ones((4, 3), np.float32))
    assert {item.ndim for item in spoilt} == {1, 2, 3} and len({item.dtype for item in spoilt}) > 5
    assert any(np.isnan(item).any() for item in spoilt if item.dtype.kind == "f")


def test_trees_change_in_one_place_and_the_original_does_not():
    tree = {"a": [1, {"b": (2, 3)}], "c": np.zeros(3)}
    spoilt = [spoil_tree(tree, random.Random(seed), spoil_leaf) for seed in range(200)]
    assert str(tree) == str({"a": [1, {"b": (2, 3)}], "c": np.zeros(3)})
    keys = {tuple(map(str, item)) for item in spoilt if isinstance(item, dict)}
    assert ("a",) in keys and ("a", "c", "x") in keys and len(keys) > 5


def test_hdf5(tmp_path):
    seen = set()
    for seed in range(60):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["data"] = np.ones((4, 3))
            file.create_dataset("ids", data=["a", "b"], dtype=h5py.string_dtype())
            file.attrs["format"] = "f"
        spoil_hdf5(tmp_path / "a.h5", random.Random(seed))
        with h5py.File(tmp_path / "a.h5") as file:
            seen |= {type(file.get(name, getlink=True)).__name__ for name in file} | {str(len(file))}
            seen |= {type(file.attrs["format"]).__name__ if "format" in file.attrs else "gone"}
    assert {"ExternalLink", "SoftLink", "HardLink", "1", "2", "str"} <= seen


def test_archives_and_headers_stay_sound():
    target = BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("a/data.pkl", b"x" * 50)
        archive.writestr("a/data/0", b"y" * 50)
    for data in outcomes(spoil_zip, target.getvalue()):
        assert zipfile.ZipFile(BytesIO(data)).testzip() is None
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    for data in outcomes(spoil_safetensors, struct.pack("<Q", len(header)) + header + bytes(4)):
        assert 8 + struct.unpack("<Q", data[:8])[0] + 4 == len(data)
