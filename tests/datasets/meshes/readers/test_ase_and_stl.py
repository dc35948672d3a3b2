"""ASE and ASCII STL: a miniature of each, cut off everywhere, and files that lie about themselves."""

import numpy as np
import pytest

from pointrecon.datasets.meshes.mesh import MeshError
from pointrecon.datasets.meshes.readers import READERS, read_ase, read_stl

OBJECT = """*GEOMOBJECT {
	*NODE_NAME "gun"
	*MESH {
		*MESH_NUMVERTEX 3
		*MESH_NUMFACES 1
		*MESH_VERTEX_LIST {
			*MESH_VERTEX    0	0.0	0.0	SIZE
			*MESH_VERTEX    1	SIZE	0.0	0.0
			*MESH_VERTEX    2	0.0	SIZE	0.0
		}
		*MESH_FACE_LIST {
			*MESH_FACE    0:    A:    0 B:    2 C:    1 AB:    1 BC:    1 CA:    1	 *MESH_SMOOTHING 1 	*MESH_MTLID 0
		}
	}
}
"""
ASE = ("*3DSMAX_ASCIIEXPORT	200\n" + OBJECT.replace("SIZE", "2.5") + OBJECT.replace("SIZE", "4")).encode()
STL = b"""solid a thing
  facet normal 0 0 1
    outer loop
      vertex 0 0 0
      vertex 2e0 0 0
      vertex 0 1 0
    endloop
  endfacet
endsolid a thing
"""


def test_ase_joins_objects_and_leaves_specks_out():
    mesh = read_ase(ASE, "a.ase")
    assert mesh.faces.tolist() == [[0, 2, 1], [3, 5, 4]] and mesh.colors is None
    np.testing.assert_allclose(mesh.vertices[3:], [[0, 0, 4], [4, 0, 0], [0, 4, 0]])
    assert len(read_ase(ASE + OBJECT.replace("SIZE", "0.05").encode(), "a.ase").faces) == 2


def test_ascii_stl_is_read_whatever_the_case():
    for data in (STL, b"solid" + STL[5:].upper()):
        mesh = read_stl(data, "a.stl")
        assert mesh.faces.tolist() == [[0, 1, 2]]
        np.testing.assert_allclose(mesh.vertices, [[0, 0, 0], [2, 0, 0], [0, 1, 0]])


def test_cut_off_text_is_a_clean_error():
    for length in range(len(STL) - len(b"endsolid a thing\n")):
        with pytest.raises(MeshError):
            read_stl(STL[:length], "a.stl")
    second = ASE.rindex(b"*GEOMOBJECT")
    for length in range(len(ASE) - 2):
        if second - 2 < length <= second + len("*GEOMOBJECT "):  # whole objects are a whole file
            assert len(read_ase(ASE[:length], "a.ase").faces) == 1
            continue
        with pytest.raises(MeshError):
            read_ase(ASE[:length], "a.ase")


@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        (".ase", b""),
        (".ase", ASE.replace(b"NUMVERTEX 3", b"NUMVERTEX 900000000")),
        (".ase", ASE.replace(b"NUMFACES 1", b"NUMFACES x")),
        (".ase", ASE.replace(b"B:    2", b"B:    3")),
        (".ase", ASE.replace(b"B:    2", b"B:   -1")),
        (".ase", ASE.replace(b"B:    2", b"B:    99999999999999999999")),
        (".ase", ASE.replace(b" C: ", b" D: ")),
        (".ase", ASE.replace(b"2.5", b"nan")),
        (".ase", ASE.replace(b"MESH_VERTEX    1", b"MESH_VERTEX    2")),
        (".stl", b"This is no mesh"),
        (".stl", STL.replace(b"2e0", b"two")),
        (".stl", STL.replace(b"2e0 0 0", b"2e0 0")),
        (".stl", STL.replace(b"2e0", b"inf")),
        (".stl", STL.replace(b"      vertex 0 1 0\n", b"")),
        (".stl", STL.replace(b"    endloop\n", b"")),
        (".stl", b"solid nothing\nendsolid nothing\n"),
    ],
)
def test_bad_text_is_one_clean_error(suffix, data):
    with pytest.raises(MeshError) as error:
        READERS[suffix](data, f"bad{suffix}", None)
    assert f"bad{suffix}" in str(error.value) and error.value.cause
