"""Every way to spoil a file does something, and none needs the file to be sound."""

import io
import json
import pickle
import random
import re
import struct
import tarfile
import zipfile
from io import BytesIO

import h5py
import numpy as np

from pointrecon.utils.files.checks.pickle_items import PickleError
from pointrecon.utils.files.checks.pickle_policies import ARRAYS
from pointrecon.utils.files.checks.pickle_scan import scan_pickle
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
from tests.fuzzing.opcodes import make_bomb, split_opcodes, spoil_opcodes
from tests.fuzzing.targets import pickles
from tests.fuzzing.tars import spoil_tar


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


def test_opcodes_are_split_and_joined():
    for protocol in range(6):
        data = pickle.dumps({"a": [1, np.zeros(3)], "b": "x" * 70_000}, protocol)
        assert pickle.loads(b"".join(split_opcodes(data))).keys() == {"a", "b"}
        spoilt = outcomes(spoil_opcodes, data)
        assert len({*spoilt}) > 150 and all(item.endswith(b".") for item in spoilt)
    assert len({make_bomb(random.Random(seed)) for seed in range(200)}) > 30


def test_spoilt_pickles_reach_every_refusal():
    """A fuzzer that is refused for the same reason each time looks at one line of code."""
    reasons = set()
    for protocol in range(6):
        data = pickle.dumps(pickles._content(), protocol)
        for item in outcomes(spoil_opcodes, data, 250):
            try:
                scan_pickle(item, ARRAYS)
            except PickleError as error:
                reasons.add(re.sub(r"'[^']*'|[0-9,]+", "?", str(error)))
    assert len(reasons) > 20, sorted(reasons)
    wanted = (
        "asks for",
        "other arguments",
        "changes the state",
        "fills an object",
        "key of tuples",
        "numbers an object",
    )
    assert all(any(text in reason for reason in reasons) for text in wanted), sorted(reasons)


def test_tar_archives_change_in_members_and_headers():
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in ("a.json", "b.npy"):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    spoilt = outcomes(
        lambda value, rng: spoil_tar(value, rng, lambda name, content, rng: content + b"x"), data.getvalue()
    )
    assert len({*spoilt}) > 40 and all(len(item) % 512 == 0 for item in spoilt)
    readable = 0
    for item in spoilt:
        try:
            with tarfile.open(fileobj=io.BytesIO(item)) as tar:
                readable += len(tar.getnames()) > 0
        except (tarfile.TarError, ValueError):
            continue
    assert readable > 100
