"""A source of toys, whose packages are text files, and the pipeline on it."""

import sys

import pytest

import pointrecon.tools.debshapes.build as module
from pointrecon.tools.debshapes.build import Options, prepare
from pointrecon.tools.debshapes.select import Rules

# Children import this by name: a source whose meshes are bumpy balls, unless the file says otherwise; `hang PATH` is a
# ball that is read when the path is there.
TOYS = """
import os, sys, time
from pathlib import Path
import numpy as np
from pointrecon.datasets.meshes.mesh import Mesh, MeshError
from pointrecon.tools.debshapes.shape import make_shape
from pointrecon.tools.debshapes.sources.sources import SOURCES, Item, Source
from pointrecon.utils.errors import InputError

def list_items(root):
    package, version = (root / "VERSION").read_text().split("_")
    for path in sorted(root.rglob("*.toy")):
        inside = path.relative_to(root).as_posix()
        yield Item("toys", package, version, inside, path.stem, ("toys",), "CC0-1.0", "me")

def read(root, item):
    kind, _, number = (root / item.path).read_text().partition(" ")
    if kind == "hang":
        while not Path(number).exists():
            time.sleep(0.02)
        number = 0
    if kind == "crash":
        os.abort()
    if kind == "broken":
        raise MeshError(f"'{item.path}' ends early", "truncated")
    return ball(int(number))

def ball(seed):
    random = np.random.RandomState(seed)
    up, round_ = np.meshgrid(np.linspace(0, np.pi, 9), np.linspace(0, 2 * np.pi, 13), indexing="ij")
    vertices = np.stack([np.sin(up) * np.cos(round_), np.cos(up), np.sin(up) * np.sin(round_)], -1).reshape(-1, 3)
    i = np.arange(8)[:, None] * 13 + np.arange(12)
    faces = np.concatenate([np.stack([i, i + 1, i + 13], -1), np.stack([i + 1, i + 14, i + 13], -1)]).reshape(-1, 3)
    return Mesh(vertices * (0.3 + random.rand(len(vertices), 1)), faces)

def unpack(deb, folder, keep=None):
    lines = deb.read_text().splitlines()
    if lines[0] != "toy":
        raise InputError(f"'{deb}' is no archive; download it again")
    for line in lines[1:]:
        name, _, content = line.partition(" ")
        if ".." in name:
            raise InputError(f"'{deb}' has the name '{name}', which leads out of the folder; do not use it")
        if not keep(name):
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "VERSION").write_text("_".join(deb.name.split("_")[:2]))
    return folder

def make(task):
    return make_shape(task)

SOURCES["toys"] = Source("toys", ("toys-a", "toys-b"), list_items, read)
"""


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """Makes the toy source known here and in children."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "toy_source.py").write_text(TOYS)
    monkeypatch.syspath_prepend(str(folder))
    sys.modules.pop("toy_source", None)
    import toy_source

    monkeypatch.setattr(module, "make_shape", toy_source.make)
    monkeypatch.setattr(module, "unpack", toy_source.unpack)
    monkeypatch.setattr(module, "VERSIONS", {"toys-a": "1.0", "toys-b": "1.0"})
    yield toy_source
    module.SOURCES.pop("toys", None)


@pytest.fixture(scope="session")
def known():
    """What `wanted` has computed."""
    return {}


@pytest.fixture
def wanted(known, tmp_path, toys):
    """Checksum of the set that the packages of `write_packages` make when nothing goes wrong."""
    if not known:
        known["checksum"] = _make(tmp_path / "wanted", _write_packages(tmp_path / "wanted debs"))["checksum"]
    return known["checksum"]


@pytest.fixture
def write_packages():
    return _write_packages


@pytest.fixture
def make():
    return _make


def _write_packages(folder, files=None, version="1.0", packages=("toys-a", "toys-b")):
    """`toys-a` has the files, `toys-b` one ball."""
    folder.mkdir(parents=True, exist_ok=True)
    files = files if files is not None else {f"data/ball{number}.toy": f"ball {number}" for number in range(4)}
    contents = {"toys-a": files, "toys-b": {"data/other.toy": "ball 99"}}
    for package in packages:
        lines = ["toy", *(f"{name} {content}" for name, content in contents[package].items())]
        (folder / f"{package}_{version}_all.deb").write_text("\n".join(lines))
    return folder


def _make(folder, packages, **options):
    rules = options.pop("rules", Rules(leave_out="none"))
    return prepare(Options(folder / "debshapes", ("toys",), packages, rules=rules, **options))
