"""Tar files that are not what they should be, and arrays that claim too much."""

import bz2
import gzip
import io
import subprocess
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


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_and_other_letters_are_read(tmp_path, format):
    keys = ["k" * 300, "d" * 90 + "/" + "k" * 120, "stühle/größe", "plain"]
    members = [(f"{key}.{name}", data, {}) for key in keys for name, data in (("json", b"{}"), ("points.npy", POINTS))]
    path = write(tmp_path / "x.tar", members, format)
    rows = scan_shard(path)
    data = path.read_bytes()
    assert len(rows) == 4 and all(data[row[1] : row[1] + row[5]] == POINTS for row in rows)
    assert rows[:, 6].tolist() == [2] * 4


@pytest.mark.parametrize("arguments", [["--format=gnu"], ["--format=pax"], ["--format=ustar"], ["--format=v7"], []])
def test_what_tar_packs_of_a_folder_is_read(tmp_path, arguments):
    folder = tmp_path / "shapes" / "of.tables"
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"{number}.json").write_text("{}")
        (folder / f"{number}.points.npy").write_bytes(POINTS)
    (folder / ".hidden.points.npy").write_bytes(POINTS)
    (folder / "README").write_text("no member of a sample")
    path = tmp_path / "x.tar"
    command = ["tar", "--sort=name", *arguments, "-C", str(tmp_path / "shapes"), "-cf", str(path), "."]
    subprocess.run(command, check=True)
    assert scan_shard(path)[:, 5:7].tolist() == [[len(POINTS), 2]] * 3


def test_keys_with_dots_are_samples(tmp_path):
    names = ["a.1.json", "a.1.points.npy", "a.2.points.npy", "a.2.text.npy", "b.points.npy", "b.old.points.npy"]
    names += ["b.notes.json", "v1.5/c.POINTS.NPY", "v1.5/e.f.points.npy"]
    path = write(tmp_path / "x.tar", [(name, b"{}" if "json" in name else POINTS, {}) for name in names])
    found = scan_shard(path)[:, 5:9].astype(bool).tolist()
    assert found == [
        [True, True, False, False],
        [True, False, False, True],
        [True, False, False, False],  # b, whose other members are left alone
        [True, False, False, False],
        [True, False, False, False],
    ]


def test_the_package_webdataset_reads_the_same_samples(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    path = tmp_path / "x.tar"
    with webdataset.TarWriter(str(path), encoder=False) as writer:
        for number in range(5):
            key = f"some/where/{'k' * 120}{number}"
            writer.write({"__key__": key, "points.npy": POINTS, "json": b"{}", "png": b"1"})
    theirs = list(webdataset.WebDataset(str(path), shardshuffle=False))
    assert len(theirs) == 5 == len(scan_shard(path))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: gzip.compress(path.read_bytes()), "is compressed with gzip; unpack it"),
        (lambda path: bz2.compress(path.read_bytes()), "is compressed with bzip2"),
        (lambda path: path.read_bytes() * 2, "goes on behind its end.*tar --concatenate"),
    ],
)
def test_what_would_be_passed_over_is_named(tmp_path, make, message):
    path = write(tmp_path / "x.tar", [("1.points.npy", POINTS, {})])
    path.write_bytes(make(path))
    with pytest.raises(InputError, match=message):
        scan_shard(path)


def test_shards_without_points_say_what_they_have(tmp_path):
    path = write(tmp_path / "x.tar", [("1.pth", b"12", {}), ("1.cls", b"3", {})])
    with pytest.raises(InputError, match="no samples: it has 2 members such as '1.pth', but points are in KEY.points"):
        scan_shard(path)


def pax(records, name="x"):
    """An extended header with these bytes in it."""
    info = tarfile.TarInfo(name)
    info.type, info.size = tarfile.XHDTYPE, len(records)
    return info.tobuf(tarfile.USTAR_FORMAT) + records.ljust(-(-len(records) // 512) * 512, b"\0")


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (b"29 size=99999999999999999999\n", "claims a size|claims 9"),
        (b"22 size=9999999999999\n", "claims 9,999,999,999,999 bytes"),
        (b"999 path=x\n", "no extended header"),
        (b"x path=y\n", "no extended header"),
        (b"22 GNU.sparse.major=1\n", "sparse"),
        (b"24 path=../1.points.npy\n", "leads out"),
        (b"9" * 70_000, "70,000 bytes of a member"),
    ],
)
def test_extended_headers_that_lie(tmp_path, records, message):
    path = write(tmp_path / "x.tar", [("1.points.npy", POINTS, {})])
    path.write_bytes(pax(records) + path.read_bytes())
    with pytest.raises(InputError, match=message):
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
    table = np.arange(6, dtype=np.float32).reshape(2, 3)
    for values in (table, np.asfortranarray(table), table.astype(">f4"), np.zeros(0, np.int8), np.array(3.0)):
        assert parse_npy(npy(values), "x").dtype.isnative and parse_npy(npy(values), "x").flags.c_contiguous
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
    "texts": npy(np.array(["a"])),
    "cut": POINTS[:-1],
    "nothing": b"",
    "no magic": b"PK\x03\x04" + bytes(200),
}


@pytest.mark.parametrize("data", BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_what_is_no_array_of_numbers_is_refused(data):
    with pytest.raises(InputError, match="sample 7 is no array"):
        parse_npy(data, "sample 7")
