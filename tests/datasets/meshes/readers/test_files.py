"""Files beside a mesh: found whatever the case, never outside; archives opened once."""

import zipfile

import pytest

from pointrecon.datasets.meshes.mesh import MeshError
from pointrecon.datasets.meshes.readers import files as module
from pointrecon.datasets.meshes.readers.files import FolderFiles, ZipFiles, beside


def test_folder_ignores_case_and_stays_inside(tmp_path):
    (tmp_path / "in" / "Sub").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"s")
    (tmp_path / "in" / "Sub" / "A.png").write_bytes(b"a")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "secret")
    files = FolderFiles(tmp_path / "in")
    assert files.read("sub/a.PNG") == b"a" and files.read("none") is None
    assert files.read("../secret") is None and files.read("/etc/passwd") is None and files.read("link") is None


def test_archive_reads_members_and_says_what_is_broken(tmp_path, monkeypatch):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Dir/A.txt", "a" * 100)
    assert ZipFiles(path).read("dir/a.txt") == b"a" * 100 and ZipFiles(path).read("no") is None
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    with pytest.raises(MeshError, match="leave it out"):
        ZipFiles(path).read("dir/a.txt")
    (tmp_path / "b.zip").write_bytes(b"no zip")
    with pytest.raises(MeshError, match="no archive"):
        ZipFiles(tmp_path / "b.zip")


def test_beside_joins_like_a_path():
    assert beside("a/b.obj", "..\\t\\x.png ") == "t/x.png"


def test_a_member_without_a_name_is_none_of_the_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.obj", b"v 0 0 0")
        archive.writestr("b", b"")
        archive.filelist[-1].filename = ""
        archive.filelist[-1].orig_filename = ""
    assert ZipFiles(tmp_path / "a.zip").read("a.obj") == b"v 0 0 0"


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_that_unpack_without_a_limit_are_refused(tmp_path, kind):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", kind) as archive:
        archive.writestr("a.obj", b"v 0 0 0")
    with pytest.raises(MeshError, match="use deflate"):
        ZipFiles(tmp_path / "a.zip").read("a.obj")


def test_a_member_that_grows_too_much_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.obj", bytes(100 << 20))
    with pytest.raises(MeshError, match="at most"):
        ZipFiles(tmp_path / "a.zip").read("a.obj")
