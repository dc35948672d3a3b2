"""Named pipes, sockets and devices among a user's files: nothing waits for them."""

import contextlib
import os
import signal
import socket

import numpy as np
import pytest

from pointrecon.datasets.folder.folder import Folder
from pointrecon.datasets.folder.listing import list_files
from pointrecon.datasets.folder.reading import read_geometry
from pointrecon.datasets.meshes.mesh import MeshError
from pointrecon.utils.errors import InputError

CLOUD = np.random.RandomState(0).randn(60, 3)


def give_up(number, frame):
    raise TimeoutError("it waits for a pipe or a device")


@pytest.fixture
def soon():
    """What takes over 10 seconds ends with an error."""
    old = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, old)


@pytest.mark.parametrize("name", ["a.npy", "a.obj", "a.off", "a.glb", "a.pcd", "a.xyz"])
def test_a_pipe_a_socket_and_a_device_are_no_shapes(tmp_path, soon, name):
    os.mkfifo(tmp_path / name)
    (tmp_path / f"device {name}").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(tmp_path):  # its name may have 108 bytes
        server.bind(f"s {name}")
    for place in (name, f"device {name}", f"s {name}"):
        with pytest.raises(MeshError, match=f"{place}' is no plain file but a pipe") as error:
            read_geometry(tmp_path / place, max_points=100)
        assert error.value.cause == "no plain file"


def test_a_scene_waits_for_no_pipe_that_it_names(tmp_path, soon):
    trimesh = pytest.importorskip("trimesh")
    for name, data in trimesh.Scene(trimesh.creation.box()).export(file_type="gltf").items():
        if name.endswith(".gltf"):
            (tmp_path / "a.gltf").write_bytes(data)
        else:
            os.mkfifo(tmp_path / name)
    with pytest.raises(MeshError, match="which it names, is no plain file"):
        read_geometry(tmp_path / "a.gltf", max_points=100)


def test_a_pipe_is_left_out_and_named(tmp_path):
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a" / "x.npy", CLOUD)
    os.mkfifo(tmp_path / "a" / "y.npy")
    (tmp_path / "a" / "z.obj").symlink_to("/dev/zero")
    data = Folder(str(tmp_path), num_stored=64, jobs=1, up="y", time_limit=5)
    assert data.ids == ["a/x.npy"] and list(data.skipped) == ["a/y.npy", "a/z.obj"]
    assert all("is no plain file but a pipe" in why for why in data.skipped.values())


def test_a_pipe_is_no_table(tmp_path):
    np.save(tmp_path / "x.npy", CLOUD)
    os.mkfifo(tmp_path / "pipe.csv")
    for arguments in ((tmp_path / "pipe.csv",), (tmp_path, tmp_path / "pipe.csv")):
        with pytest.raises(InputError, match="table of files '.*pipe.csv' is no plain file"):
            list_files(*arguments)
