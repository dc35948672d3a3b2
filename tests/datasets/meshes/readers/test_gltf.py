"""glTF files that name what is not there, or become far larger than they are, are refused before trimesh sees them."""

import copy
import json
import struct
import time

import numpy as np
import pytest

from pointrecon.datasets.folder.reading import read_geometry
from pointrecon.datasets.meshes.mesh import MeshError
from tests.fuzzing.targets.scenes import GLTF, GLTF_BYTES, make_glb

pytest.importorskip("trimesh")
VIEWLESS = {"componentType": 5126, "type": "VEC3"}
WRONG = {
    "a count without bytes": (("accessors", 0), VIEWLESS | {"count": 10**8}, "unpack to"),
    "sparse": (("accessors", 0), VIEWLESS | {"count": 10**8, "sparse": {"count": 1}}, "unpack to"),
    "a count of -1": (("accessors", 0, "count"), -1, "has -1 of something"),
    "a count in words": (("accessors", 0, "count"), "4", "has 4 of something"),
    "a view from the end": (("accessors", 0, "bufferView"), -1, "item -1 of 2 bufferViews"),
    "an accessor from the end": (("meshes", 0, "primitives", 0, "indices"), -1, "item -1 of 2 accessors"),
    "a mesh that is not there": (("nodes", 1, "mesh"), 7, "item 7 of 1 meshes"),
    "a material that is not there": (("meshes", 0, "primitives", 0, "material"), True, "item True of 1 materials"),
    "a child from the end": (("scenes", 0, "nodes"), [-1], "item -1 of 2 nodes"),
    "a place that is none": (("nodes", 1, "translation"), [float("nan")] * 3, "not finite"),
    "a cycle": (("nodes", 1, "children"), [0], "cannot|can be read"),
    "too many nodes": (("nodes",), [{"mesh": 0}] * 20_000, "20,000 nodes"),
    "one mesh too often": (("nodes",), [{"mesh": 0}] * 9000, "vertices and faces"),
    "a folder elsewhere": (("buffers", 0, "uri"), "../../../../../../dev/zero", "can be read"),
    "a device": (("buffers", 0, "uri"), "/dev/zero", "can be read"),
    "no object": ((), [], "no object"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_are_refused_at_once(tmp_path, name):
    place, value, message = WRONG[name]
    document = copy.deepcopy(GLTF)
    if name == "one mesh too often":
        document["accessors"][1]["count"] = 60_000
    holder = document
    for key in place[:-1]:
        holder = holder[key]
    if place:
        holder[place[-1]] = value
    (tmp_path / "a.gltf").write_text(json.dumps(document if place else value))
    (tmp_path / "data.bin").write_bytes(GLTF_BYTES)
    started = time.process_time()
    with pytest.raises(MeshError, match=message):
        read_geometry(tmp_path / "a.gltf", max_points=9)
    assert time.process_time() - started < 8


def test_whole_files_are_read_and_heads_are_checked(tmp_path):
    (tmp_path / "a.gltf").write_text(json.dumps(GLTF))
    (tmp_path / "data.bin").write_bytes(GLTF_BYTES)
    data = make_glb(GLTF, GLTF_BYTES)
    (tmp_path / "a.glb").write_bytes(data)
    for suffix in ("gltf", "glb"):
        mesh = read_geometry(tmp_path / f"a.{suffix}", max_points=9)
        assert mesh.faces.shape == (2, 3) and np.ptp(mesh.vertices, axis=0).tolist() == [1, 1, 1]
    for wrong in (data[:10], data[:12] + struct.pack("<I", 1 << 31) + data[16:], data[:16] + b"BIN\0" + data[20:]):
        (tmp_path / "a.glb").write_bytes(wrong)
        with pytest.raises(MeshError, match="glb"):
            read_geometry(tmp_path / "a.glb", max_points=9)


def test_compressed_meshes_are_no_zeros(tmp_path):
    document = copy.deepcopy(GLTF) | {"extensionsUsed": ["KHR_draco_mesh_compression"]}
    del document["accessors"][0]["bufferView"]
    (tmp_path / "a.gltf").write_text(json.dumps(document))
    (tmp_path / "data.bin").write_bytes(GLTF_BYTES)
    if pytest.importorskip("importlib.util").find_spec("DracoPy") is None:
        with pytest.raises(MeshError, match="are compressed"):
            read_geometry(tmp_path / "a.gltf", max_points=9)
