"""Packages: unpacked whole or not at all; names that lead out, links and damage are refused."""

import errno
import io
import os
import subprocess
import tarfile

import pytest

from pointrecon.tools.debshapes.sources import packages
from pointrecon.tools.debshapes.sources.packages import ROOT_FILE, download, package_of, unpack
from pointrecon.utils.errors import InputError


def make_deb(path, members, kind="gz", control=None):
    """Writes a .deb of (name, content or a link's target), and what it says of itself."""
    parts = [("debian-binary", b"2.0\n"), (f"data.tar.{kind}", make_tar(members, kind))]
    if control is not None:
        parts.insert(1, (f"control.tar.{kind}", make_tar([("./control", control.encode())], kind)))
    data = b"!<arch>\n"
    for name, content in parts:
        data += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content
        data += b"\n" * (len(content) % 2)
    path.write_bytes(data)
    return path


def make_tar(members, kind):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{kind}") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
    return out.getvalue()


FILES = [
    ("./usr/share/a/m.obj", b"mesh"),
    ("./usr/share/a/m.wav", b"sound"),
    ("./usr/share/doc/a/copyright", b"c"),
    ("./usr/share/a/link.obj", "/etc/passwd"),
]


def test_unpacks_what_is_wanted_and_only_once(tmp_path):
    deb = make_deb(tmp_path / "a_1%3a2-3_all.deb", FILES, "xz")
    root = unpack(deb, tmp_path / "out", lambda path: path.endswith(".obj"))
    found = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    assert found == [ROOT_FILE, "usr/share/a/m.obj", "usr/share/doc/a/copyright"]
    assert (root / ROOT_FILE).read_text() == "a 1:2-3\n"
    deb.unlink()
    assert unpack(deb, tmp_path / "out") == root


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "usr/../../evil"])
def test_names_that_lead_out_are_refused(tmp_path, name):
    deb = make_deb(tmp_path / "a_1_all.deb", [("usr/share/a/ok", b"x"), (name, b"x")])
    with pytest.raises(InputError, match="outside its folder"):
        unpack(deb, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_damage_is_told_and_leaves_nothing(tmp_path):
    deb = make_deb(tmp_path / "a_1_all.deb", [("usr/a", bytes(range(256)) * 50)], "xz")
    whole = deb.read_bytes()
    for data in (b"", b"<html>", whole[:100], whole[:-40], whole[:250] + b"\x55" * 30 + whole[280:]):
        deb.write_bytes(data)
        with pytest.raises(InputError, match="download it again"):
            unpack(deb, tmp_path / "out")
        assert not list((tmp_path / "out").iterdir())


def test_absurd_sizes_and_names_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "MAX_UNPACKED", 10)
    with pytest.raises(InputError, match="would unpack"):
        unpack(make_deb(tmp_path / "a_1_all.deb", [("usr/a", b"x" * 11)]), tmp_path / "out")
    for name in ("a.deb", ".._1_all.deb", "a_1_all.rpm"):
        with pytest.raises(InputError, match="named like"):
            package_of(tmp_path / name)


def test_download_takes_what_is_there_and_explains_failures(tmp_path, monkeypatch):
    deb = make_deb(tmp_path / "a_1_all.deb", FILES)
    assert download(["a"], tmp_path) == [deb]
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="no apt-get"):
        download(["b"], tmp_path)
    monkeypatch.setattr(packages.shutil, "which", lambda name: "/usr/bin/apt-get")
    failed = subprocess.CompletedProcess([], 100, "", "W: x\nE: Unable to locate package b\n")
    monkeypatch.setattr(packages.subprocess, "run", lambda *args, **kwargs: failed)
    with pytest.raises(InputError, match="Unable to locate package b"):
        download(["b"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [deb.name]


def test_a_package_under_the_name_of_another_version_is_refused(tmp_path):
    control = "Package: a\nVersion: 1:2-3\nDescription: toys\n more: of them\n"
    deb = make_deb(tmp_path / "a_1%3a2-3_all.deb", FILES, "xz", control)
    assert unpack(deb, tmp_path / "out").is_dir()
    renamed = make_deb(tmp_path / "a_4_all.deb", FILES, "xz", control)
    with pytest.raises(InputError, match="'a_4_all.deb' holds package 'a' of version 1:2-3"):
        unpack(renamed, tmp_path / "out")


@pytest.mark.parametrize("names", [("usr/" + "x" * 300,), ("usr/a", "usr/a/b")], ids=["long", "file and folder"])
def test_names_that_no_disk_takes_are_the_package_s_fault(tmp_path, names):
    deb = make_deb(tmp_path / "a_1_all.deb", [(name, b"x") for name in names])
    with pytest.raises(InputError, match="a name that cannot be") as caught:
        unpack(deb, tmp_path / "out")
    assert not isinstance(caught.value, packages.CannotWriteError) and not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_takes_nothing_is_told_as_that(tmp_path, monkeypatch, fault):
    deb = make_deb(tmp_path / "a_1_all.deb", FILES)

    def copy(*arguments):
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(packages.shutil, "copyfileobj", copy)
    with pytest.raises(packages.CannotWriteError, match=os.strerror(fault).lower()):
        unpack(deb, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_place_that_is_no_folder_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(packages.CannotWriteError, match="cannot write to"):
        unpack(make_deb(tmp_path / "a_1_all.deb", FILES), tmp_path / "file" / "out")
    with pytest.raises(packages.CannotWriteError, match="cannot write to"):
        download(["a"], tmp_path / "file" / "out")


def test_a_download_that_fails_on_a_full_disk_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(packages.shutil, "which", lambda name: "/usr/bin/apt-get")
    failed = subprocess.CompletedProcess([], 100, "", "E: Failed to fetch\n")
    monkeypatch.setattr(packages.subprocess, "run", lambda *args, **kwargs: failed)
    monkeypatch.setattr(packages, "MIN_FREE", 1 << 60)
    with pytest.raises(packages.CannotWriteError, match="no space left"):
        download(["b"], tmp_path)
