"""Tar files that are not what they should be, and arrays that claim too much."""

import io
import tarfile

import numpy as np
import pytest

from pointrecon.datasets.shards.index import parse_npy, scan_shard
from pointrecon.utils.errors import InputError


def npy(values):
    file = io.BytesIO()
    np.save(file, values, allow_pickle=values.dtype == object)
    return file.getvalue()


POINTS = npy(np.zeros((4, 3), np.float32))


def write(path, members, format=tarfile.USTAR_FORMAT):
    with tarfile.open(path, "w", format=format) as tar:
        for name, content, changes in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in changes.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_members_of_a_key_make_a_sample(tmp_path):
    members = [("b/1.json", b"{}", {}), ("b/1.points.npy", POINTS, {}), ("b/1.png", b"123", {})]
    path = write(tmp_path / "x.tar", [*members, ("2.points.npy", POINTS, {"mtime": 1.5})], tarfile.PAX_FORMAT)
    rows = scan_shard(path)
    assert rows.shape == (2, 10) and rows[:, 5].tolist() == [len(POINTS)] * 2 and rows[:, 6].tolist() == [2, 0]
    data = path.read_bytes()
    assert all(data[row[1] : row[1] + row[5]] == POINTS for row in rows)


LINK = {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}
HARD = {"type": tarfile.LNKTYPE, "linkname": "1.json"}
BAD = {
    "a link": ([("1.points.npy", b"", LINK)], "1.points.npy.*is a link"),
    "a hard link": ([("1.points.npy", b"", HARD)], "1.points.npy.*is a link"),
    "a device": ([("1.points.npy", b"", {"type": tarfile.CHRTYPE})], "no plain file"),
    "a name that leads out": ([("../1.points.npy", POINTS, {})], r"\.\./1\.points\.npy.*leads out"),
    "an absolute name": ([("/etc/1.points.npy", POINTS, {})], "/etc/1.points.npy.*leads out"),
    "no points": ([("1.json", b"{}", {})], "sample 0 .*no points.npy"),
    "nothing": ([], "no samples"),
    "a field twice": ([("1.json", b"{}", {}), ("1.json", b"{}", {})], "1.json.* twice"),
    "an empty field": ([("1.points.npy", b"", {})], "0 bytes"),
    "a large note": ([("1.json", b" " * (1 << 20) + b"{}", {})], "1.json.*1,048,578 bytes"),
}


@pytest.mark.parametrize(("members", "message"), BAD.values(), ids=BAD.keys())
def test_what_is_no_shard_is_refused_by_name(tmp_path, members, message):
    with pytest.raises(InputError, match=message):
        scan_shard(write(tmp_path / "x.tar", members))


def test_a_long_name_is_refused(tmp_path):
    path = write(tmp_path / "x.tar", [("k" * 300 + ".points.npy", POINTS, {})], tarfile.PAX_FORMAT)
    with pytest.raises(InputError, match="long name"):
        scan_shard(path)


def test_an_absurd_size_is_refused_before_anything_is_read(tmp_path):
    info = tarfile.TarInfo("1.points.npy")
    info.size = 1 << 50
    path = tmp_path / "x.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + POINTS + bytes(1024))
    with pytest.raises(InputError, match="1.points.npy.*claims 1,125,899,906,842,624 bytes"):
        scan_shard(path)


def test_a_truncated_or_damaged_file(tmp_path):
    path = write(tmp_path / "x.tar", [("1.points.npy", POINTS, {}), ("2.points.npy", POINTS, {})])
    content = path.read_bytes()
    for damaged in (
        content[:512],
        content[:600],
        content[:1024],
        content[:1100] + b"x" * 60 + content[1160:],
        b"no tar",
    ):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="x.tar"):
            scan_shard(path)


def test_arrays():
    for values in (np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros(0, np.int8), np.array(3.0)):
        assert np.array_equal(parse_npy(npy(values), "x"), values)


def with_header(text):
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


BAD_ARRAYS = {
    "objects": npy(np.array([{}], dtype=object)),
    "too many claimed": with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 3)}")
    + bytes(48),
    "negative": with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-4, -3)}") + bytes(48),
    "code": with_header("__import__('os').abort()"),
    "fortran": npy(np.asfortranarray(np.zeros((2, 3)))),
    "texts": npy(np.array(["a"])),
    "cut": POINTS[:-1],
    "nothing": b"",
    "no magic": b"PK\x03\x04" + bytes(200),
}


@pytest.mark.parametrize("data", BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_what_is_no_array_of_numbers_is_refused(data):
    with pytest.raises(InputError, match="sample 7 is no array"):
        parse_npy(data, "sample 7")
