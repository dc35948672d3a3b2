"""Arrays of every layout come back; a file that claims what it does not have is refused."""

import io
import zipfile

import numpy as np
import pytest

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.npy import NpzError, read_npy, read_npz

VALUES = np.random.RandomState(0).randn(4, 3)


@pytest.mark.parametrize("values", [VALUES, VALUES.T, VALUES.astype(">f4"), np.arange(3), np.array(2.5), VALUES[:0]])
def test_arrays_come_back(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    read = read_npy(tmp_path / "a.npy")
    assert read.dtype == values.dtype and read.shape == values.shape
    np.testing.assert_array_equal(read, values)


OTHERS = [np.array(["a"]), np.array([b"a"]), np.zeros(2, [("x", "f4")]), np.array("2020", "M8")]


@pytest.mark.parametrize("values", OTHERS)
def test_other_types_are_refused(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(InputError, match=r"a\.npy' cannot be read.*it holds"):
        read_npy(tmp_path / "a.npy")


def test_missing_truncated_and_longer_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.npy' cannot be read"):
        read_npy(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", VALUES)
    data = (tmp_path / "a.npy").read_bytes()
    for spoilt in (data[:-1], data + b"x", data[:50], b""):
        (tmp_path / "a.npy").write_bytes(spoilt)
        with pytest.raises(InputError, match=r"a\.npy' cannot be read"):
            read_npy(tmp_path / "a.npy")


def test_arrays_of_an_archive_come_back(tmp_path):
    arrays = {"a": VALUES, "b": np.array(["x", "yz"]), "c": VALUES.T[:2], "d": np.array(2.5), "e": VALUES[:0]}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        read = read_npz(tmp_path / "a.npz")
        assert read.keys() == arrays.keys()
        for name, values in arrays.items():
            assert read[name].dtype == values.dtype
            np.testing.assert_array_equal(read[name], values)


def member(shape, descr="<f8", body=b""):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body


MEMBERS = {
    "a claim": (member("(1000000000000,)"), "claims 8,000,000,000,000 bytes"),
    "objects": (member("(1,)", "|O", b"x" * 8), "object"),
    "no size": (member("(1000000000000,)", "|S0"), "it holds"),
    "growth": (member(f"({25 << 20},)", body=bytes(200 << 20)), "at most"),
    "no array": (b"text", "NpzError|ValueError|magic"),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_archives_that_claim_too_much_are_refused(tmp_path, name):
    data, message = MEMBERS[name]
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", data)
    with pytest.raises(NpzError, match=message):
        read_npz(tmp_path / "a.npz")


def test_damaged_archives_are_refused(tmp_path):
    data = io.BytesIO()
    np.savez(data, a=VALUES)
    for spoilt in (b"", b"PK", data.getvalue()[:-10], data.getvalue().replace(b"NUMPY", b"NUMPX")):
        (tmp_path / "a.npz").write_bytes(spoilt)
        with pytest.raises(NpzError):
            read_npz(tmp_path / "a.npz")
    with pytest.raises(OSError, match="No such file"):
        read_npz(tmp_path / "b.npz")
