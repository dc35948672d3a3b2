"""HDF5 files that send their reader elsewhere, claim what they do not have, or stall the library."""

import subprocess
import sys
import zlib

import h5py
import numpy as np
import pytest

from pointrecon.datasets.packed.hdf5_points import HDF5Points
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import open_hdf5

ONES = zlib.compress(b"\xff" * (1 << 22), 9)


# Each function writes data set 'data' into a file.
def link(kind, *place):
    return lambda file: file.__setitem__("data", kind(*place))


def virtual(file):
    layout = h5py.VirtualLayout((4, 3), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "points", (4, 3))
    file.create_virtual_dataset("data", layout)


def deflated(file):
    """Zeros, a thousandth of their size in the file: 1 GiB in 1 MB."""
    values = file.create_dataset("data", (256, 1 << 20), "f4", chunks=(1, 1 << 20), compression="gzip")
    chunk = zlib.compress(bytes(4 << 20), 9)
    for row in range(256):
        values.id.write_direct_chunk((row, 0), chunk)


def pointers(file):
    """Values that differ in length; whoever maps them as they are follows the addresses in the file."""
    values = file.create_dataset("data", (3,), h5py.vlen_dtype(np.float32))
    for row in range(3):
        values[row] = np.arange(4)


def attribute(file):
    file["data"] = np.zeros((4, 3), "f4")
    file["data"].attrs["a"] = np.zeros(20_000, "i1")


def longer_chunk(file):
    """A chunk that claims 48 kB, and for which the library makes room for 256 MB."""
    values = file.create_dataset("data", (4, 1024, 3), "f4", chunks=(4, 1024, 3), compression="gzip")
    values.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(256 << 20), 1))


def longer_lzf_chunk(file):
    values = file.create_dataset("data", (4, 1024, 3), "f4", chunks=(4, 1024, 3), compression="lzf")
    values.id.write_direct_chunk((0, 0, 0), b"\x00a" + b"\xe0\xff\x00" * 4_000_000)


def two_filters(file, *codes):
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((4, 3))
    for code in codes:
        plan.set_filter(code, 0, (4,))
    h5py.h5d.create(file.id, b"data", h5py.h5t.NATIVE_INT32, h5py.h5s.create_simple((4, 3)), plan)


HDF5 = {
    "a chunk longer than its shape": (longer_chunk, "unpacks to more than its 49,152 bytes"),
    "the same in LZF": (longer_lzf_chunk, "unpacks to more than its 49,152 bytes"),
    "a filter after the compressor": (
        lambda file: two_filters(file, h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE),
        "may follow a compressor",
    ),
    "external link": (link(h5py.ExternalLink, "/etc/passwd", "/data"), "is a link"),
    "soft link": (link(h5py.SoftLink, "/elsewhere"), "is a link"),
    "external storage": (
        lambda file: file.create_dataset("data", (4, 3), "f4", external=[("/etc/passwd", 0, 48)]),
        "are in another file",
    ),
    "virtual": (virtual, "are in another file"),
    "huge": (lambda file: file.create_dataset("data", (10**12, 3), "f4"), "claims the shape"),
    "huge, in chunks": (lambda file: file.create_dataset("data", (10**12, 3), "f4", chunks=(9, 3)), "claims the shape"),
    "huge chunk": (
        lambda file: file.create_dataset("data", (2, 3), "f4", chunks=(1 << 26, 3), maxshape=(None, 3)),
        "has chunks of",
    ),
    "deflated": (deflated, "are stored"),
    "pointers": (pointers, "should not be"),
    "attribute": (attribute, "the attribute 'a'"),
}


@pytest.mark.parametrize("name", HDF5)
def test_hdf5(tmp_path, name, assert_refused):
    write, message = HDF5[name]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write(file)
    assert_refused(tmp_path / "a.h5", lambda path: HDF5Points(path)[0], message)


def test_texts_that_share_one_long_text(tmp_path, assert_refused):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        texts = file.create_dataset("ids", data=["x" * 1_000_000] + ["y"] * 9999, dtype=h5py.string_dtype())
        file.flush()
        offset, size = texts.id.get_offset(), texts.id.get_storage_size() // 10_000
    data = bytearray(path.read_bytes())
    data[offset : offset + 10_000 * size] = data[offset : offset + size] * 10_000
    path.write_bytes(data)

    def read(path):
        with open_hdf5(path) as file:
            return file.read_texts("ids")

    assert_refused(path, read, "claims 10,000,000,000 bytes")


def test_text_of_no_size(tmp_path, assert_refused):
    """The HDF5 library itself goes round in a circle."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=["text"], dtype=h5py.string_dtype())
    data = path.read_bytes()
    place = data.find(b"text")
    path.write_bytes(data[: place - 16] + bytes(16) + data[place:])

    def read(path):
        with open_hdf5(path) as file:
            return file.read_texts("data")

    assert_refused(path, read, "claims 0 bytes")


@pytest.mark.parametrize("small", [0, 64 << 20])
@pytest.mark.parametrize("versions", [("earliest", "latest"), ("latest", "latest")])
@pytest.mark.parametrize("userblock", [0, 512])
def test_virtual_data_set_whose_list_has_no_size(tmp_path, assert_refused, monkeypatch, small, versions, userblock):
    """The library goes round in the list when the data set is opened, before anybody can ask what it is."""
    monkeypatch.setattr("pointrecon.utils.files.hdf5.SMALL", small)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=versions, userblock_size=userblock) as file:
        virtual(file.create_group("inside"))
        for number in range(40):  # the header goes on elsewhere
            file["inside/data"].attrs[f"a{number}"] = number
    data = path.read_bytes()
    place = data.find(b"GCOL") + 16
    path.write_bytes(data[:place] + bytes(16) + data[place + 16 :])
    assert_refused(path, open_hdf5, "are in another file" if small == 0 else "claims 0 bytes")


@pytest.fixture
def sound(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=512) as file:
        file["numbers"] = np.arange(6).reshape(2, 3)
        file.create_dataset("fixed", data=np.array([b"a", b"bc"]))
        file.create_dataset("texts", data=["a", "", "bc"], dtype=h5py.string_dtype())
        file.create_dataset("chunked", data=["x"] * 100, chunks=(10,), dtype=h5py.string_dtype(), compression="gzip")
        mask = file.create_dataset("mask", (20, 1 << 22), "i1", chunks=(1, 1 << 22), compression="gzip")
        for row in range(20):
            mask.id.write_direct_chunk((row, 0), ONES)
        bytes_of = file.create_dataset("bytes", (2,), h5py.vlen_dtype(np.uint8))
        bytes_of[1] = np.frombuffer(b"xyz", np.uint8)
        file.attrs["text"], file.attrs["number"] = "t", 3
    return tmp_path / "a.h5"


def test_sound_file_is_read(sound):
    with open_hdf5(sound) as file:
        assert file.read("numbers", "i", 2).tolist() == [[0, 1, 2], [3, 4, 5]]
        assert file.read_texts("texts") == ["a", "", "bc"] and file.read_texts("chunked") == ["x"] * 100
        assert [bytes(item) for item in file.read_objects("bytes")] == [b"", b"xyz"]
        assert file.text_attribute("text") == "t" and file.text_attribute("number") == file.text_attribute("no") == ""


def test_what_is_not_read_may_be_small_in_the_file(sound):
    """The published masks are of one value, so they are stored in a thousandth of their size."""
    with open_hdf5(sound) as file, pytest.raises(InputError, match="'/mask' claims the shape"):
        file.read("mask")


@pytest.mark.parametrize(
    ("name", "read", "message"),
    [
        ("numbers", lambda file: file.read_texts("numbers"), "should not be"),
        ("numbers", lambda file: file.read("numbers", "f"), "should not be"),
        ("numbers", lambda file: file.read("numbers", "i", 1), "should not be"),
        ("bytes", lambda file: file.read_texts("bytes"), "must hold text"),
        ("texts", lambda file: file.read_objects("texts"), "must hold bytes"),
        ("nothing", lambda file: file.read("nothing"), "is damaged"),
    ],
)
def test_wrong_kind_is_refused(sound, name, read, message):
    with pytest.raises(InputError, match=rf"a\.h5'.*{message}"), open_hdf5(sound) as file:
        read(file)


def test_our_own_refusals_pass_through(sound):
    with pytest.raises(InputError, match="^mine$"), open_hdf5(sound):
        raise InputError("mine")


def test_large_files_are_searched_between_the_arrays(sound, monkeypatch):
    monkeypatch.setattr("pointrecon.utils.files.hdf5.SMALL", 0)
    with open_hdf5(sound) as file:
        assert file.read_texts("texts") == ["a", "", "bc"]


@pytest.mark.parametrize("options", [{"compression": "lzf"}, {"compression": "gzip", "shuffle": True},
                                     {"compression": "gzip", "fletcher32": True}, {"scaleoffset": 0},
                                     {"compression": "szip"}])  # fmt: skip
@pytest.mark.parametrize("values", [np.zeros((40, 64, 3), "i4"), np.random.RandomState(0).randint(0, 99, (40, 64, 3))])
def test_published_forms_of_storage_are_read(tmp_path, options, values):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        try:
            file.create_dataset("data", data=values, chunks=(8, 64, 3), **options)
        except ValueError:
            pytest.skip("this build of HDF5 cannot write it")
    with open_hdf5(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file.read("data"), values)


def test_large_lzf_chunks_are_followed(tmp_path, monkeypatch):
    monkeypatch.setattr("pointrecon.utils.files.checks.hdf5_chunks._LZF_HARMLESS", 0)
    values = np.tile(np.random.RandomState(0).randint(0, 9, (1, 64, 3)), (40, 1, 1))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", data=values, chunks=(40, 64, 3), compression="lzf")
    with open_hdf5(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file.read("data"), values)


def test_a_locked_file_is_no_damaged_one(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.zeros(3)
        child = "import sys; from pointrecon.utils.files.io import open_hdf5; open_hdf5(sys.argv[1])"
        result = subprocess.run([sys.executable, "-c", child, tmp_path / "a.h5"], capture_output=True, text=True)
    assert "InputError" in result.stderr and "is locked: another program" in result.stderr


def test_numbers_of_a_filter_are_those_of_the_chunk(tmp_path, assert_refused):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        numbers = file.create_dataset("data", data=np.arange(12, dtype="i4"), chunks=(12,), scaleoffset=0).id
        written = np.array(numbers.get_create_plist().get_filter(0)[2], "<u4")
    data = (tmp_path / "a.h5").read_bytes()
    changed = written.copy()
    changed[2] = 1 << 30
    assert data.count(written.tobytes()) == 1
    (tmp_path / "a.h5").write_bytes(data.replace(written.tobytes(), changed.tobytes()))
    assert_refused(tmp_path / "a.h5", lambda path: HDF5Points(path, "data"), "made for chunks of another size")
