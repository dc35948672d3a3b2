"""Where packed files go: beside the data, where the user says, and to a home directory only if they are small."""

import os
import tempfile

import pytest

from pointrecon.datasets.packed import places
from pointrecon.datasets.packed.places import MAX_UNASKED, Places
from pointrecon.utils.errors import InputError
from tests.conftest import in_child


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A data folder that cannot be written."""
    made = tmp_path / "data" / "shapes"
    made.mkdir(parents=True)
    monkeypatch.setattr(places, "is_writable", lambda path: made not in path.parents)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return made


def test_beside_the_data_if_that_can_be_written(tmp_path):
    (tmp_path / "shapes").mkdir()
    assert Places(tmp_path / "shapes", "x.h5").choose(10**10) == tmp_path / "shapes" / "packed" / "x.h5"


def test_where_the_user_says(tmp_path, folder):
    path = Places(folder, "x.h5", tmp_path / "fast").choose(10**10)
    assert path.is_relative_to(tmp_path / "fast") and path.name == "x.h5"
    other = Places(tmp_path / "other" / "shapes", "x.h5", tmp_path / "fast").choose(10**10)
    assert path != other, "two data roots have two places"


def test_a_home_directory_gets_small_files_unasked(tmp_path, folder, monkeypatch):
    assert Places(folder, "x.h5").choose(MAX_UNASKED).is_relative_to(tmp_path / "home" / ".cache" / "recon")
    with pytest.raises(InputError, match=r"shapes/packed' cannot be written.* 1,200 MB; give data.cache_root=FOLDER"):
        Places(folder, "x.h5").choose(1_200_000_000)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert Places(folder, "x.h5").choose(1_200_000_000).is_relative_to(tmp_path / "cache")


def test_what_is_in_the_cache_from_before_is_found(folder, tmp_path):
    assert any(path.is_relative_to(tmp_path / "home") for path in Places(folder, "x.h5").all)


def test_without_a_home_the_user_is_asked_for_a_folder(folder, monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(places.Path, "home", home)
    with pytest.raises(InputError, match=r"cannot be written.*give data.cache_root=FOLDER"):
        Places(folder, "x.h5").choose(10)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot make the folder '.*/file/inside': .*give data.cache_root=FOLDER"):
        with places.alone(tmp_path / "file" / "inside" / "x.h5", "it"):
            pytest.fail("it was made")


def choose_as_nobody(folder):
    """As in a container that runs under a number without an entry in the table of users."""
    os.environ.pop("HOME", None)
    os.environ.pop("XDG_CACHE_HOME", None)
    os.setuid(54321)
    return str(Places(folder, "x.h5").choose(10).relative_to(folder))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_a_user_without_a_home_and_without_an_entry(tmp_path):
    folder = tmp_path / "shapes"
    folder.mkdir()
    outcome, _ = in_child(choose_as_nobody, folder)
    assert outcome.startswith("InputError") and "cannot be written" in outcome and "data.cache_root" in outcome
    for path in (folder, *folder.parents):
        if path.is_relative_to(tempfile.gettempdir()) and str(path) != tempfile.gettempdir():
            path.chmod(0o777)
    outcome, _ = in_child(choose_as_nobody, folder)
    assert outcome == "returned 'packed/x.h5'"
