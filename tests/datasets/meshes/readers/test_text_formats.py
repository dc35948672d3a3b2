"""OBJ, VRML, AC3D and PIE: miniatures of each, and files that lie about themselves."""

import io

import numpy as np
import pytest
from PIL import Image

from pointrecon.datasets.meshes.mesh import MeshError
from pointrecon.datasets.meshes.readers import READERS, read_ac3d, read_obj, read_pie, read_vrml
from pointrecon.datasets.meshes.readers.files import FolderFiles

VRML = b"""#kic#VRML V2.0 utf8
# a comment { with a brace
Transform { translation 0 0 5 scale 2 1 1 rotation 0 0 1 1.5707963267948966 children [
  Shape { appearance Appearance { material DEF RED Material { diffuseColor 1 0 0 } }
    geometry IndexedFaceSet { coord Coordinate { point [0 0 0, 1 0 0, 1 1 0, 0 1 0] } coordIndex [0,1,2,3,-1] } }
  Shape { appearance Appearance { material USE RED }
    geometry IndexedFaceSet { coord Coordinate { point [0 0 1, 1 0 1, 1 1 1] } coordIndex [0,1,2] } } ] }
"""
AC3D = b"""AC3Db
MATERIAL "a" rgb 0 1 0 amb 0 0 0 emis 0 0 0 spec 0 0 0 shi 0 trans 0
OBJECT world
kids 1
OBJECT poly
loc 0 0 1
numvert 4
0 0 0
1 0 0
1 1 0
0 1 0
numsurf 2
SURF 0x10
mat 0
refs 4
0 0 0
1 1 0
2 1 1
3 0 1
SURF 0x14
mat 0
refs 4
0 0 0
1 0 0
3 0 0
2 0 0
kids 0
"""
PIE = b"""PIE 2
TYPE 10200
TEXTURE 0 page.png 256 256
LEVELS 1
LEVEL 1
POINTS 3
0 0 0
1 0 0
0 1 0
POLYGONS 2
200 3 0 1 2 0 0 10 0 0 10
4200 3 2 1 0 8 1 2 3 0 0 10 0 0 10
"""


def png(color):
    out = io.BytesIO()
    Image.new("RGB", (4, 4), color).save(out, "PNG")
    return out.getvalue()


def test_obj_reads_polygons_negative_indices_and_materials(tmp_path):
    (tmp_path / "m.mtl").write_text("newmtl a b\nKd 1 0 0\nnewmtl t\nKd 0 0 0\nmap_Kd T.PNG\n")
    (tmp_path / "t.png").write_bytes(png((0, 0, 255)))
    text = (
        b"mtllib m.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nusemtl a b\nf 1 2 3 4\nusemtl t\nf -4/1 -3/1 -2/1\n"
    )
    mesh = read_obj(text, "m.obj", FolderFiles(tmp_path))
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2]]
    np.testing.assert_allclose(mesh.colors, [[1, 0, 0], [1, 0, 0], [0, 0, 1]], atol=0.01)


def test_vrml_places_shapes_and_knows_names():
    mesh = read_vrml(VRML, "a.wrl")
    assert len(mesh.faces) == 3 and mesh.colors.tolist() == [[1, 0, 0]] * 3
    np.testing.assert_allclose(mesh.vertices[1], [0, 2, 5], atol=1e-9)  # stretched, then turned, then moved
    np.testing.assert_allclose(mesh.vertices[3], [-1, 0, 5], atol=1e-9)


def test_ac3d_moves_objects_and_reads_strips():
    mesh = read_ac3d(AC3D, "a.ac")
    assert len(mesh.faces) == 4 and mesh.colors.tolist() == [[0, 1, 0]] * 4
    np.testing.assert_allclose(mesh.vertices[:, 2], 1)


def test_pie_skips_texture_animation_and_uses_the_texture(tmp_path):
    (tmp_path / "texpages").mkdir()
    (tmp_path / "texpages" / "page.png").write_bytes(png((0, 255, 0)))
    mesh = read_pie(PIE, "structs/a.pie", FolderFiles(tmp_path))
    assert mesh.faces.shape == (2, 3)
    np.testing.assert_allclose(mesh.colors, [[0, 1, 0]] * 2, atol=0.01)


@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        (".obj", b"v 0 0 0\nf 1 2 3\n"),
        (".obj", b"v 0 0 0\nv 1 0 x\nv 0 1 0\nf 1 2 3\n"),
        (".obj", b"v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"),
        (".obj", b""),
        (".wrl", VRML.replace(b"USE RED", b"USE BLUE")),
        (".wrl", VRML[:-60]),
        (".wrl", b"#VRML V1.0 ascii\n"),
        (".wrl", b"#VRML V2.0\n" + b"Group { children [" * 5000),
        (".ac", AC3D.replace(b"numvert 4", b"numvert 400000000")),
        (".ac", AC3D[:200]),
        (".ac", b"nothing"),
        (".pie", PIE.replace(b"POINTS 3", b"POINTS 900000000")),
        (".pie", PIE.replace(b"200 3 0", b"200 3 7")),
        (".pie", b"PIE"),
    ],
)
def test_bad_text_is_one_clean_error(suffix, data):
    with pytest.raises(MeshError) as error:
        READERS[suffix](data, f"bad{suffix}", None)
    assert f"bad{suffix}" in str(error.value) and error.value.cause


def test_vrml_that_uses_its_parts_without_end_is_refused():
    """40 groups, each with the one before four times: 4^39 triangles in two kilobytes."""
    text = VRML.decode().replace("Transform", "DEF G0 Transform", 1)
    text += "".join(f"DEF G{n} Group {{ children [ {f'USE G{n - 1} ' * 4} ] }}\n" for n in range(1, 40))
    with pytest.raises(MeshError, match="uses its parts over 20,000 times"):
        read_vrml(text.encode(), "a.wrl")
    few = VRML.decode().replace("Transform", "DEF G0 Transform", 1) + "Group { children [ USE G0 USE G0 ] }"
    assert len(read_vrml(few.encode(), "a.wrl").faces) == 9
