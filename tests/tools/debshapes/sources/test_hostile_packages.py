"""Packages that unpack to more than the memory or the disk, in a file of some kilobytes."""

import os
import tarfile

import pytest

from pointrecon.tools.debshapes.sources.packages import unpack
from tests.tools.debshapes.sources.test_packages import make_deb

LARGE = 160 << 20


def header(name, size, kind):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


# Made when they are needed: each has 160 MB.
HEADERS = {
    "attributes": lambda: header("x", LARGE, tarfile.XHDTYPE) + bytes(LARGE),
    "global attributes": lambda: header("x", LARGE, tarfile.XGLTYPE) + bytes(LARGE),
    "long name": lambda: header("././@LongLink", LARGE, tarfile.GNUTYPE_LONGNAME) + b"a" * LARGE,
    "long link": lambda: header("././@LongLink", LARGE, tarfile.GNUTYPE_LONGLINK) + b"a" * LARGE,
    "a file": lambda: header("usr/share/doc/a", LARGE, tarfile.REGTYPE) + bytes(LARGE),
    "attributes of attributes": lambda: (header("x", 512, tarfile.XHDTYPE) + bytes(512)) * 3000,
}


@pytest.mark.parametrize("kind", ["gz", "xz", "bz2"])
@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("place", ["data", "control"])
def test_packages_that_unpack_without_end(tmp_path, monkeypatch, name, kind, place, assert_refused):
    import bz2
    import gzip
    import lzma

    if (kind != "xz" and name != "attributes") or (place == "control" and name == "a file"):
        pytest.skip("the reader of headers is the same for all kinds")
    compress = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lambda data: lzma.compress(data, preset=0)}[kind]
    from tests.tools.debshapes.sources import test_packages

    parts = {"data": compress(HEADERS[name]()) if place == "data" else test_packages.make_tar([("a", b"x")], kind)}
    if place == "control":
        parts["control"] = compress(HEADERS[name]())
    monkeypatch.setattr(
        test_packages, "make_tar", lambda members, _: parts["control" if members[0][0] == "./control" else "data"]
    )
    deb = make_deb(tmp_path / "a_1_all.deb", [("a", b"x")], kind, control="x" if place == "control" else None)
    assert_refused(deb, lambda path: unpack(path, tmp_path / "out"), "is damaged")
    assert not list((tmp_path / "out").iterdir())


def test_unpacked_folders_follow_the_umask(tmp_path):
    before = os.umask(0o022)
    try:
        root = unpack(make_deb(tmp_path / "a_1_all.deb", [("./usr/a", b"x")]), tmp_path / "out")
    finally:
        os.umask(before)
    assert root.stat().st_mode & 0o777 == 0o755
