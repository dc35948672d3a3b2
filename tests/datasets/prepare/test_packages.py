"""Packages: unpacked whole or not at all; names that lead out, links and damage are refused."""

import io
import subprocess
import tarfile

import pytest

from datasets.prepare import packages
from datasets.prepare.packages import ROOT_FILE, download, package_of, unpack
from utils.errors import InputError


def make_deb(path, members, kind="gz"):
    """Writes a .deb of (name, content or a link's target)."""
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
    data = b"!<arch>\n"
    for name, content in (("debian-binary", b"2.0\n"), (f"data.tar.{kind}", out.getvalue())):
        data += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content
        data += b"\n" * (len(content) % 2)
    path.write_bytes(data)
    return path


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
