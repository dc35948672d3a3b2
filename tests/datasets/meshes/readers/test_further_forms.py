"""What the miniatures of the other tests have not: textures, further fields and versions, and limits."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from pointrecon.datasets.meshes.mesh import Mesh, MeshError
from pointrecon.datasets.meshes.readers import READERS, files
from pointrecon.datasets.meshes.readers.files import FolderFiles
from tests.datasets.meshes.readers.test_binary_formats import INDICES, TRIANGLE, chunk, md2, pmd
from tests.datasets.meshes.readers.test_text_formats import AC3D, VRML

RED, BLUE = [1, 0, 0], [0, 0, 1]


@pytest.fixture
def textured(tmp_path):
    """A folder with a blue texture."""
    data = io.BytesIO()
    Image.new("RGB", (4, 4), (0, 0, 255)).save(data, "PNG")
    (tmp_path / "blue.png").write_bytes(data.getvalue())
    return FolderFiles(tmp_path)


def g3d_3(num_frames=1, has_texture=True, num_colors=1):
    """Version 3 of G3D: counts of frames of each kind, then their arrays."""
    counts = (num_frames, num_frames, 1, num_colors, 3, 3, 0 if has_texture else 1)
    head = b"G3D\x03" + struct.pack("<I7I64s", 1, *counts, b"blue.png")
    arrays = TRIANGLE.tobytes() * num_frames * 2 + bytes(24) * has_texture
    colors = struct.pack("<4f", *RED, 1) * num_colors
    return head + arrays + colors + struct.pack("<3I", *INDICES)


def test_g3d_of_version_3(textured):
    assert READERS[".g3d"](g3d_3(), "a.g3d", textured).colors.tolist() == [BLUE]
    assert READERS[".g3d"](g3d_3(has_texture=False), "a.g3d", textured).colors.tolist() == [RED]
    plain = READERS[".g3d"](g3d_3(has_texture=False, num_colors=0), "a.g3d", None)
    np.testing.assert_allclose(plain.colors, [[0.7] * 3], atol=1e-6)
    with pytest.raises(MeshError, match="no faces"):
        READERS[".g3d"](g3d_3(num_frames=0), "a.g3d", None)
    with pytest.raises(MeshError, match="vertex 9 of 3"):
        READERS[".g3d"](g3d_3()[:-4] + struct.pack("<I", 9), "a.g3d", None)


def g3d_4(num_frames, num_indices=3):
    head = struct.pack("<3sBHB64s3I3f5fII", b"G3D", 4, 1, 0, b"m", num_frames, 3, num_indices, *RED, *[0.0] * 5, 0, 1)
    head += b"blue.png".ljust(64, b"\0")
    return head + TRIANGLE.tobytes() * 2 * num_frames + bytes(24) + struct.pack("<3I", *INDICES)[: 4 * num_indices]


def test_g3d_of_version_4_with_a_texture(textured):
    assert READERS[".g3d"](g3d_4(1), "a.g3d", textured).colors.tolist() == [BLUE]
    for empty in (g3d_4(0), g3d_4(1, 0)):
        with pytest.raises(MeshError, match="no faces"):
            READERS[".g3d"](empty, "a.g3d", textured)
    with pytest.raises(MeshError, match="declares"):
        READERS[".g3d"](b"G3D\x03" + struct.pack("<I", 1 << 31), "a.g3d", None)


def test_spm_with_a_texture(textured):
    head = struct.pack("<2sBB6fH", b"SP", 0x0A, 5, *[0.0] * 6, 1) + b"\x08blue.png\x00"
    rows = b"".join(row.tobytes() + bytes(4) + struct.pack("<2e", 0.5, 0.5) + bytes(4) for row in TRIANGLE)
    data = head + struct.pack("<HHIIH", 1, 1, 3, 3, 0) + rows + bytes(INDICES)
    assert READERS[".spm"](data, "a.spm", textured).colors.tolist() == [BLUE]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (struct.pack("<5I", 0, 1, 0, 0, 0), "has no faces"),
        (pmd(4)[12:] + b"abc", "goes on for 3 bytes after its end"),
    ],
)
def test_pmd_without_faces_or_with_a_rest(body, message):
    with pytest.raises(MeshError, match=message):
        READERS[".pmd"](struct.pack("<4s2I", b"PSMD", 4, len(body)) + body, "a.pmd", None)


def test_md2_with_a_skin(textured):
    data = bytearray(md2())
    skins, start = len(data), struct.unpack("<17i", data[:68])
    head = list(start)
    head[2], head[3], head[5], head[7] = 4, 4, 1, 3
    head[11], head[12] = skins, skins + 64
    data[4:68] = struct.pack("<16i", *head[1:])
    data += b"blue.png".ljust(64, b"\0") + struct.pack("<6h", 1, 1, 2, 2, 3, 3)
    assert READERS[".md2"](bytes(data), "a.md2", textured).colors.tolist() == [BLUE]
    short = bytes(data).replace(struct.pack("<6H", *INDICES, 0, 0, 0), struct.pack("<6H", *INDICES, 9, 0, 0))
    with pytest.raises(MeshError, match="texture coordinate that is not there"):
        READERS[".md2"](short, "a.md2", textured)


def test_3ds_with_a_texture_and_colours_as_numbers(textured):
    color = chunk(0xA020, chunk(0x0010, struct.pack("<3f", 0, 1, 0)))
    vertices = chunk(0x4110, struct.pack("<H", 3), TRIANGLE.tobytes())
    coordinates = chunk(0x4140, struct.pack("<H", 3), struct.pack("<6f", *[0.5] * 6))
    use = chunk(0x4130, b"red\0", struct.pack("<HH", 1, 0))
    faces = chunk(0x4120, struct.pack("<5H", 1, *INDICES, 0), use)
    for parts, wanted in (((color,), [0, 1, 0]), ((color, chunk(0xA200, chunk(0xA300, b"blue.png\0"))), BLUE)):
        material = chunk(0xAFFF, chunk(0xA000, b"red\0"), *parts)
        thing = chunk(0x4000, b"thing\0", chunk(0x4100, vertices, coordinates, faces))
        data = chunk(0x4D4D, chunk(0x3D3D, material, thing))
        assert READERS[".3ds"](data, "a.3ds", textured).colors.tolist() == [wanted]


def test_ac3d_with_a_texture_a_turn_and_free_text(textured):
    text = AC3D.decode().replace(
        "loc 0 0 1\n",
        'name "x"\ndata 5\nab\nc\ntexture "blue.png"\ntexture "other.png" base\ntexrep 2 2\ntexoff 0.1 0.1\n'
        "rot 0 1 0 -1 0 0 0 0 1\nloc 0 0 1\n",
    )
    mesh = READERS[".ac"](text.encode(), "a.ac", textured)
    assert mesh.colors.tolist() == [BLUE] * 4
    np.testing.assert_allclose(mesh.vertices[:, 2], 1)
    for wrong, message in (
        (text.replace("kids 0", "kids 1"), "a child object is missing|ends inside"),
        (text.replace("numsurf 2", "numsurf 99999"), "declares 99999"),
        (text[: text.index("refs")], "ends inside"),
        ("AC3Db\n" + "OBJECT group\nkids 1\n" * 100, "nested more than"),
    ):
        with pytest.raises(MeshError, match=message):
            READERS[".ac"](wrong.encode(), "a.ac", None)


SHAPE = """Shape { appearance Appearance { material Material { diffuseColor 1 0 0 } } geometry IndexedFaceSet {
 coord Coordinate { point [0 0 0, 1 0 0, 1 1 0, 0 1 0] } coordIndex [0,1,2,-1,0,2,3,-1] FIELDS } }"""
HEAD = "#VRML V2.0 utf8\n"
COLORED = "color Color { color [1 0 0, 0 0 1] }"


def vrml(text):
    return READERS[".wrl"]((HEAD + text).encode(), "a.wrl", None)


def test_vrml_has_colours_of_faces_and_of_vertices():
    of_faces = SHAPE.replace("FIELDS", f"{COLORED} colorPerVertex FALSE colorIndex [1, 0]")
    assert vrml(of_faces).colors.tolist() == [BLUE, RED]
    assert vrml(SHAPE.replace("FIELDS", f"{COLORED} colorPerVertex FALSE")).colors.tolist() == [RED, BLUE]
    of_vertices = SHAPE.replace("FIELDS", f"{COLORED} colorIndex [0,0,0,-1,1,1,1,-1]")
    assert vrml(of_vertices).colors.tolist() == [RED, BLUE]
    assert vrml(SHAPE.replace("FIELDS", COLORED)).colors.shape == (2, 3)


def test_vrml_shows_one_of_several():
    shape = SHAPE.replace("FIELDS", "")
    for group, count in (
        (f"Switch {{ whichChoice 0 choice [ {shape} {shape} ] }}", 2),
        (f"LOD {{ level [ {shape} {shape} ] }}", 2),
        (f"Group {{ children {shape} }}", 2),
        (f"Group {{ children [ {shape} {shape} ] }} ROUTE a.b TO c.d", 4),
    ):
        assert len(vrml(group).faces) == count
    for nothing in (f"Switch {{ choice [ {shape} ] }}", "Shape { geometry Box { } }", "Material { }"):
        with pytest.raises(MeshError):
            vrml(nothing)


@pytest.mark.parametrize(
    "text",
    [
        "PROTO X [ ] { }",
        "Group",
        "Group { children [ ",
        "Group { children [ 1 2 ",
        'Group { children [ "a" "b" ',
        "USE X",
    ],
)
def test_vrml_that_ends_too_early_or_needs_more(text):
    with pytest.raises(MeshError):
        vrml(text)
    assert len(READERS[".wrl"](VRML.replace(b"rotation 0 0 1 1.57", b"rotation 0 0 0 1.57"), "a.wrl", None).faces) == 3


def test_files_too_large_and_files_that_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "b.OBJ").write_bytes(b"12345")
    found = FolderFiles(tmp_path)
    assert found.read("a/B.obj") == b"12345" and found.read("a/c.obj") is None and found.read("x/b.obj") is None
    assert found.read("../x") is None and found.read("/etc/passwd") is None
    monkeypatch.setattr(files, "MAX_BYTES", 4)
    with pytest.raises(MeshError, match="leave it out"):
        found.read("a/b.obj")
    monkeypatch.setattr(files, "MAX_BYTES", 40)
    (tmp_path / "A" / "b.OBJ").unlink()
    with pytest.raises(MeshError, match="cannot be read"):
        found.read("a/b.obj")


def test_meshes_that_nothing_can_be_done_with():
    for mesh, message in (
        (Mesh(np.eye(3), np.zeros((0, 3))), "no faces"),
        (Mesh(np.eye(3), [[0, 1, 3]]), "only 3 vertices"),
        (Mesh(np.eye(3) * 1e13, [[0, 1, 2]]), "no sensible numbers"),
        (Mesh(np.eye(3), [[0, 1, 2]], [RED, RED]), "2 colours for 1 faces"),
    ):
        with pytest.raises(MeshError, match=message):
            mesh.check("a")
