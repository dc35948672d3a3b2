"""Every suffix that is promised, once, with colours where the format has some."""

import json
import struct

import numpy as np
import pytest

from pointrecon.datasets.folder.reading import SUFFIXES, read_geometry
from pointrecon.datasets.folder.scenes import read_scene
from pointrecon.datasets.meshes.mesh import Mesh, MeshError
from tests.datasets.folder.test_reading import CLOUD, COLORS, write_las

PROMISED = ".obj .ply .stl .off .glb .gltf .dae .3ds .wrl .pcd .las .laz .e57 .npy .npz .h5 .xyz .pts .txt .csv".split()


def test_all_that_is_promised_is_read():
    assert set(PROMISED) <= set(SUFFIXES)


def box():
    trimesh = pytest.importorskip("trimesh")
    mesh = trimesh.creation.box((1, 2, 3))
    mesh.visual.face_colors = np.tile([255, 0, 0, 255], (12, 1))
    return mesh


@pytest.mark.parametrize("suffix", ["ply", "glb", "gltf", "dae", "off"])
def test_colours_of_meshes(tmp_path, suffix):
    if suffix == "dae":
        pytest.importorskip("collada")
    box().export(tmp_path / f"a.{suffix}")
    mesh = read_geometry(tmp_path / f"a.{suffix}", max_points=10)
    assert isinstance(mesh, Mesh) and len(mesh.faces) == 12
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), [1, 2, 3], rtol=1e-6)
    if suffix not in ("off", "dae"):  # trimesh writes no colours into these
        assert mesh.colors is not None and mesh.colors[0].tolist() == [1, 0, 0]


def test_the_colour_of_a_material_without_a_picture(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    plain = box()
    red = trimesh.visual.material.PBRMaterial(baseColorFactor=[255, 0, 0, 255])
    plain.visual = trimesh.visual.TextureVisuals(material=red)
    plain.export(tmp_path / "a.glb")
    (tmp_path / "b.mtl").write_text("newmtl red\nKd 1 0 0\n")
    triangle = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
    (tmp_path / "b.obj").write_text("mtllib b.mtl\nusemtl red\n" + triangle)
    (tmp_path / "c.obj").write_text("mtllib gone.mtl\nusemtl red\n" + triangle)
    for name in ("a.glb", "b.obj"):
        colors = read_geometry(tmp_path / name, max_points=10).colors
        assert colors is not None and (colors == [1, 0, 0]).all(), name
    assert read_geometry(tmp_path / "c.obj", max_points=10).colors is None


def test_no_part_is_lost_for_its_random_name(tmp_path, monkeypatch):
    trimesh = pytest.importorskip("trimesh")
    path = tmp_path / "a.glb"
    vertices, triangle = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.uint16([0, 1, 2])
    body = vertices.tobytes() + triangle.tobytes() + b"\0\0"
    views = [{"buffer": 0, "byteLength": 36}, {"buffer": 0, "byteOffset": 36, "byteLength": 6}]
    accessors = [
        {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
        {"bufferView": 1, "componentType": 5123, "count": 3, "type": "SCALAR"},
    ]
    part = {"attributes": {"POSITION": 0}, "indices": 1}
    document = {"asset": {"version": "2.0"}, "buffers": [{"byteLength": len(body)}], "bufferViews": views}
    document |= {"accessors": accessors, "meshes": [{"primitives": [part] * 3}], "nodes": [{"mesh": 0}]}
    text = json.dumps({**document, "scenes": [{"nodes": [0]}], "scene": 0}).encode()
    text += b" " * (-len(text) % 4)
    pieces = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(body), b"BIN\0") + body
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(pieces)) + pieces)
    names = iter(["same", "same", "other", "a", "b", "c"])
    monkeypatch.setattr(trimesh.util, "unique_id", lambda length=12: next(names))
    assert len(read_geometry(path, max_points=10).faces) == 3


def test_a_texture_that_fails_costs_the_colours_alone(tmp_path, monkeypatch):
    trimesh = pytest.importorskip("trimesh")
    from PIL import Image

    plain = box()
    picture = Image.fromarray(np.uint8([[[255, 0, 0], [0, 0, 255]]] * 2))  # red on the left, blue on the right
    places = np.where(plain.vertices[:, :1] < 0, 0.1, 0.9) * [1, 0] + [0, 0.5]
    plain.visual = trimesh.visual.TextureVisuals(uv=places, image=picture)
    plain.export(tmp_path / "a.glb")
    mesh = read_geometry(tmp_path / "a.glb", max_points=10)
    sides = mesh.vertices[mesh.faces][..., 0]
    np.testing.assert_allclose(mesh.colors[(sides < 0).all(axis=1)], [[1, 0, 0]] * 2, atol=1e-6)
    np.testing.assert_allclose(mesh.colors[(sides > 0).all(axis=1)], [[0, 0, 1]] * 2, atol=1e-6)

    def fail(_):
        raise KeyError("no such texture")

    monkeypatch.setattr(trimesh.visual.TextureVisuals, "to_color", fail)
    mesh = read_geometry(tmp_path / "a.glb", max_points=10)
    assert len(mesh.faces) == 12 and mesh.colors is None


def test_a_ply_file_with_fewer_faces_than_it_claims(tmp_path):
    pytest.importorskip("trimesh")
    box().export(tmp_path / "a.ply", encoding="ascii")
    data = (tmp_path / "a.ply").read_bytes()
    (tmp_path / "a.ply").write_bytes(data.replace(b"element face 12", b"element face 999"))
    with pytest.raises(MeshError, match="claims 999 faces and has 12"):
        read_geometry(tmp_path / "a.ply", max_points=10)
    with pytest.raises(MeshError, match="claims 999 faces and has 12: it ends early"):
        read_scene(tmp_path / "a.ply")  # as larger files are read


def chunk(number, *parts):
    data = b"".join(parts)
    return struct.pack("<HI", number, 6 + len(data)) + data


def test_3ds_and_vrml(tmp_path):
    vertices = chunk(0x4110, struct.pack("<H", 3), struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0))
    use = chunk(0x4130, b"red\0", struct.pack("<HH", 1, 0))
    faces = chunk(0x4120, struct.pack("<5H", 1, 0, 1, 2, 0), use)
    material = chunk(0xAFFF, chunk(0xA000, b"red\0"), chunk(0xA020, chunk(0x0010, struct.pack("<3f", 1, 0, 0))))
    thing = chunk(0x4000, b"thing\0", chunk(0x4100, vertices, faces))
    (tmp_path / "a.3ds").write_bytes(chunk(0x4D4D, chunk(0x3D3D, material, thing)))
    (tmp_path / "a.wrl").write_text(
        "#VRML V2.0 utf8\nShape { appearance Appearance { material Material { diffuseColor 1 0 0 } }\n"
        "geometry IndexedFaceSet { coord Coordinate { point [0 0 0, 1 0 0, 0 1 0] } coordIndex [0,1,2,-1] } }"
    )
    for name in ("a.3ds", "a.wrl"):
        mesh = read_geometry(tmp_path / name, max_points=10)
        assert len(mesh.faces) == 1 and mesh.colors.tolist() == [[1, 0, 0]], name


def test_laz(tmp_path):
    pytest.importorskip("lazrs")
    write_las(tmp_path / "a.laz")
    cloud = read_geometry(tmp_path / "a.laz", max_points=10_000)
    np.testing.assert_allclose(cloud.points, CLOUD, atol=2e-6)
    np.testing.assert_allclose(cloud.colors, COLORS, atol=1e-4)


def test_e57(tmp_path):
    pye57 = pytest.importorskip("pye57")
    with pye57.E57(str(tmp_path / "a.e57"), mode="w") as file:
        names = ("Red", "Green", "Blue")
        colors = {f"color{name}": (COLORS[:, row] * 255).astype(np.uint8) for row, name in enumerate(names)}
        file.write_scan_raw({**{f"cartesian{axis}": CLOUD[:, row] for row, axis in enumerate("XYZ")}, **colors})
    cloud = read_geometry(tmp_path / "a.e57", max_points=10_000)
    np.testing.assert_allclose(cloud.points, CLOUD, atol=1e-6)
    np.testing.assert_allclose(cloud.colors, np.floor(COLORS * 255) / 255, atol=1e-6)


def test_vertices_without_faces_are_a_cloud(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    trimesh.PointCloud(CLOUD, colors=(COLORS * 255).astype(np.uint8)).export(tmp_path / "a.ply")
    cloud = read_geometry(tmp_path / "a.ply", max_points=10_000)
    np.testing.assert_allclose(cloud.points, CLOUD, atol=1e-6)
    np.testing.assert_allclose(cloud.colors, COLORS, atol=1 / 254)
