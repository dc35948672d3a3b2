"""OFF and PLY with polygons: concave ones are not filled in, and triangles alone are left to others."""

import struct

import numpy as np
import pytest

from pointrecon.datasets.folder.reading import read_geometry
from pointrecon.datasets.meshes.clean import face_areas
from pointrecon.datasets.meshes.mesh import MeshError
from pointrecon.datasets.meshes.readers.polyhedra import read_off, read_ply

U = [(2, 3, 0), (2, 1, 0), (1, 1, 0), (1, 3, 0), (0, 3, 0), (0, 0, 0), (3, 0, 0), (3, 3, 0)]  # area 7; a fan has 11
LINES = "\n".join(f"{x} {y} {z}" for x, y, z in U)
CORNERS = " ".join(map(str, range(8)))
HEAD = "ply\nformat {kind} 1.0\ncomment x\nelement vertex {n}\nproperty float x\nproperty float y\nproperty float z\n"
COLORS = "property uchar red\nproperty uchar green\nproperty uchar blue\n"
FACES = "element face 2\nproperty list uchar int vertex_indices\nproperty uchar flags\nend_header\n"


@pytest.mark.parametrize("head", ["OFF\n8 1 0\n", "OFF 8 1 0\n", "# x\nOFF\n\n8 1 0 # y\n"])
def test_off(tmp_path, head):
    data = f"{head}{LINES}\n8  {CORNERS} 255 0 0\n".encode()
    assert face_areas(read_off(data, "a.off")).sum() == pytest.approx(7)
    (tmp_path / "a.off").write_bytes(data)
    assert face_areas(read_geometry(tmp_path / "a.off", max_points=9)).sum() == pytest.approx(7)


def ply(kind):
    head = HEAD.format(kind=kind, n=8) + COLORS + FACES
    if kind == "ascii":
        rows = "\n".join(f"{line} 255 0 {51 * (row % 2)}" for row, line in enumerate(LINES.split("\n")))
        return f"{head}{rows}\n8 {CORNERS} 1\n3 0 1 2 1\n".encode()
    order = ">" if "big" in kind else "<"
    body = b"".join(struct.pack(f"{order}3f3B", *xyz, 255, 0, 51 * (row % 2)) for row, xyz in enumerate(U))
    return head.encode() + body + struct.pack(f"{order}B8iBB3iB", 8, *range(8), 1, 3, 0, 1, 2, 1)


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply(kind):
    mesh = read_ply(ply(kind), "a.ply")
    areas = face_areas(mesh)
    assert areas[:6].sum() == pytest.approx(7) and len(mesh.faces) == 7
    np.testing.assert_allclose(mesh.colors[0], [1, 0, 0.1], atol=1e-6)
    np.testing.assert_allclose(mesh.colors[6], [1, 0, 1 / 15], atol=1e-6)
    with pytest.raises(MeshError, match="ends early"):
        read_ply(ply(kind)[:-12], "a.ply")


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian"])
def test_triangles_alone_are_left_to_others(kind):
    head = HEAD.format(kind=kind, n=3) + FACES.replace("face 2", "face 1")
    rows = b"0 0 0\n1 0 0\n0 1 0\n3 0 1 2 0\n" if kind == "ascii" else struct.pack("<9fB3iB", *[0] * 9, 3, 0, 1, 2, 0)
    assert read_ply(head.encode() + rows, "a.ply") is None
    assert read_off(b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", "a.off") is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (f"OFF\n8 1 0\n{LINES}\n4 0 1 2 9\n", "not among its 8"),
        (f"OFF\n8 1 0\n{LINES}\n9 {CORNERS}\n", "say 9 corners and list 8"),
        (f"OFF\n8 1 0\n{LINES}\nx 0 1\n", "no OFF file that can be read"),
        (f"OFF\n8 1 0\n{LINES.replace('2', 'two')}\n8 {CORNERS}\n", "no OFF file that can be read"),
    ],
)
def test_off_that_lies(data, message):
    with pytest.raises(MeshError, match=message):
        read_off(data.encode(), "a.off")


def test_what_is_of_another_form_is_left_to_others():
    assert read_off(b"", "a.off") is None and read_off(b"COFF\n1 1 1\n", "a.off") is None
    assert read_off(b"OFF\n-1 -1 0\n", "a.off") is None and read_ply(b"ply\n", "a.ply") is None
    assert read_ply(HEAD.format(kind="ascii", n=1).encode() + b"end_header\n0 0 0\n", "a.ply") is None
