"""COLLADA: concave polygons, transforms of a scene, colours, and files that lie about themselves."""

import numpy as np
import pytest
from PIL import Image

from pointrecon.datasets.folder.reading import read_geometry
from pointrecon.datasets.meshes.clean import face_areas
from pointrecon.datasets.meshes.mesh import MeshError
from pointrecon.datasets.meshes.readers import collada as reader
from pointrecon.datasets.meshes.readers.files import FolderFiles
from tests.datasets.meshes.readers.test_polyhedra import CORNERS, LINES

pytest.importorskip("collada")
HEAD = '<COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">'
LOOK = """<library_images><image id="i"><init_from>{image}</init_from></image></library_images>
<library_effects><effect id="e"><profile_COMMON>
<newparam sid="s"><surface type="2D"><init_from>i</init_from></surface></newparam>
<newparam sid="t"><sampler2D><source>s</source></sampler2D></newparam>
<technique sid="c"><lambert><diffuse>{diffuse}</diffuse></lambert></technique></profile_COMMON></effect>
</library_effects><library_materials><material id="m"><instance_effect url="#e"/></material></library_materials>"""
PLACED = """<instance_geometry url="#g"><bind_material><technique_common>
<instance_material symbol="look" target="#m"/></technique_common></bind_material></instance_geometry>"""
LONG = """<node><translate>10 0 0</translate><rotate>0 0 1 90</rotate>
<node><scale>2 1 1</scale>{placed}</node></node>
<node><matrix>1 0 0 0 0 1 0 0 0 0 -1 5 0 0 0 1</matrix>{placed}</node>"""
ONE = f'<polylist count="1" material="look">{{inputs}}<vcount>8</vcount><p>{CORNERS}</p></polylist>'
POLYGONS = f'<polygons count="1" material="look">{{inputs}}<p>{CORNERS}</p></polygons>'
RED = "<color>1 0 0 1</color>"
VERTEX = '<input semantic="VERTEX" source="#v" offset="0"/>'


def source(name, values, letters):
    numbers = " ".join(values.split())
    params = "".join(f'<param name="{letter}" type="float"/>' for letter in letters)
    count = len(numbers.split())
    return (
        f'<source id="{name}"><float_array id="{name}-a" count="{count}">{numbers}</float_array><technique_common>'
        f'<accessor source="#{name}-a" count="{count // len(letters)}" stride="{len(letters)}">{params}</accessor>'
        "</technique_common></source>"
    )


def dae(faces=ONE, nodes=f"<node>{PLACED}</node>", inputs="", diffuse=RED, image="a%20b.png", more=""):
    mesh = source("p", LINES, "XYZ") + more + '<vertices id="v"><input semantic="POSITION" source="#p"/></vertices>'
    return (
        f"{HEAD}<asset/>{LOOK.format(diffuse=diffuse, image=image)}<library_geometries><geometry id='g'><mesh>{mesh}"
        f"{faces.format(inputs=VERTEX + inputs)}</mesh></geometry></library_geometries><library_visual_scenes>"
        f"<visual_scene id='s'>{nodes}</visual_scene></library_visual_scenes><scene><instance_visual_scene url='#s'/>"
        "</scene></COLLADA>"
    ).encode()


@pytest.mark.parametrize("faces", [ONE, POLYGONS])
def test_a_concave_polygon_is_not_filled_in(tmp_path, faces):
    (tmp_path / "a.dae").write_bytes(dae(faces))
    mesh = read_geometry(tmp_path / "a.dae", max_points=9)
    assert face_areas(mesh).sum() == pytest.approx(7)  # a fan has 11
    np.testing.assert_allclose(mesh.colors, np.tile([1, 0, 0], (6, 1)))


def test_each_node_is_where_its_transforms_say():
    mesh = reader.read_dae(dae(nodes=LONG.format(placed=PLACED)), "a.dae")
    first, second = mesh.vertices[:8], mesh.vertices[8:]
    np.testing.assert_allclose([first.min(0), first.max(0)], [[7, 0, 0], [10, 6, 0]], atol=1e-5)
    np.testing.assert_allclose([second.min(0), second.max(0)], [[0, 0, 5], [3, 3, 5]], atol=1e-5)
    assert face_areas(mesh).sum() == pytest.approx(14 + 7, rel=1e-5)
    corners = mesh.vertices[mesh.faces[[0, 6]]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert normals[0, 2] * normals[1, 2] < 0, "a reflection turns the other side outwards"


def test_instances_of_library_nodes_and_files_without_a_scene():
    data = dae(nodes='<node><scale>2 2 2</scale><instance_node url="#n"/></node>')
    nodes = f'<library_nodes><node id="n"><scale>1 1 1</scale>{PLACED}</node></library_nodes><library_visual_scenes>'
    mesh = reader.read_dae(data.replace(b"<library_visual_scenes>", nodes.encode()), "a.dae")
    assert face_areas(mesh).sum() == pytest.approx(28)
    bare = data[: data.index(b"<library_visual_scenes>")] + b"</COLLADA>"
    assert face_areas(reader.read_dae(bare, "a.dae")).sum() == pytest.approx(7)


def test_colours_of_corners_and_of_textures(tmp_path):
    rows = " ".join(f"0 1 {row / 10}" for row in range(8))
    corner = '<input semantic="COLOR" source="#c" offset="0"/>'
    mesh = reader.read_dae(dae(inputs=corner, more=source("c", rows, "RGB")), "a.dae")
    np.testing.assert_allclose(mesh.colors, np.tile([0, 1, 0.35], (6, 1)), atol=1e-6)
    Image.new("RGB", (4, 4), (0, 0, 255)).save(tmp_path / "a b.png")
    uv = {"inputs": '<input semantic="TEXCOORD" source="#u" offset="0"/>', "more": source("u", "0.5 0.5 " * 8, "ST")}
    data = dae(diffuse='<texture texture="t" texcoord="x"/>', **uv)
    np.testing.assert_allclose(reader.read_dae(data, "a.dae", FolderFiles(tmp_path)).colors, [[0, 0, 1]] * 6)
    np.testing.assert_allclose(reader.read_dae(data, "a.dae").colors, 0.7)  # the texture is not there


# A square of 10 x 10 with holes of 2 x 2 and 1 x 3.
HOLED = "0 0 0 10 0 0 10 10 0 0 10 0  2 2 0 4 2 0 4 4 0 2 4 0  6 5 0 6 8 0 7 8 0 7 5 0"


@pytest.mark.parametrize("plain", ["", "<p>0 1 2</p>"])
def test_holes_stay_open(plain):
    holes = "<ph><p>0 1 2 3</p><h>4 5 6 7</h><h>8 9 10 11</h></ph>"
    count = 1 + bool(plain)
    data = dae(f'<polygons count="{count}" material="look">{{inputs}}{plain}{holes}</polygons>')
    data = data.replace(source("p", LINES, "XYZ").encode(), source("p", HOLED, "XYZ").encode())
    mesh = reader.read_dae(data, "a.dae")
    assert face_areas(mesh).sum() == pytest.approx(100 - 4 - 3 + 50 * bool(plain))
    centers = mesh.vertices[mesh.faces].mean(1)[:, :2] if not plain else np.zeros((1, 2))
    assert not ((centers > 2) & (centers < 4)).all(1).any()
    with pytest.raises(MeshError, match=f"claims 9 polygons and has {count}"):
        reader.read_dae(data.replace(f'<polygons count="{count}"'.encode(), b'<polygons count="9"'), "a.dae")
    for wrong in (b"<h>4 5 6 70</h>", b"<h>4 5 6 -7</h>"):
        with pytest.raises(MeshError):
            reader.read_dae(data.replace(b"<h>4 5 6 7</h>", wrong), "a.dae")


def test_skins_are_where_they_were_bound():
    bones = source("j", "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1", "M").replace('stride="1"', 'stride="16"')
    bones = bones.replace('name="M" type="float"', 'name="TRANSFORM" type="float4x4"').replace(
        '<accessor source="#j-a" count="16"', '<accessor source="#j-a" count="1"'
    )
    names = (
        '<source id="n"><Name_array id="n-a" count="1">bone</Name_array><technique_common><accessor source="#n-a" '
        'count="1" stride="1"><param name="JOINT" type="name"/></accessor></technique_common></source>'
    )
    joint = '<input semantic="JOINT" source="#n" offset="0"/>'
    skin = (
        '<library_controllers><controller id="k"><skin source="#g"><bind_shape_matrix>2 0 0 5 0 2 0 0 0 0 2 0 0 0 0 1'
        f'</bind_shape_matrix>{names}{bones}{source("w", "1", "W")}<joints><input semantic="JOINT" source="#n"/>'
        '<input semantic="INV_BIND_MATRIX" source="#j"/></joints><vertex_weights count="8">'
        f'{joint}<input semantic="WEIGHT" source="#w" offset="1"/><vcount>{"1 " * 8}</vcount><v>{"0 0 " * 8}</v>'
        "</vertex_weights></skin></controller></library_controllers><library_visual_scenes>"
    )
    placed = PLACED.replace("instance_geometry", "instance_controller").replace("#g", "#k")
    data = dae(nodes=f"<node><translate>100 0 0</translate>{placed}</node>")
    mesh = reader.read_dae(data.replace(b"<library_visual_scenes>", skin.encode(), 1), "a.dae")
    assert face_areas(mesh).sum() == pytest.approx(28)
    np.testing.assert_allclose([mesh.vertices.min(0), mesh.vertices.max(0)], [[5, 0, 0], [11, 6, 0]], atol=1e-5)
    np.testing.assert_allclose(mesh.colors, np.tile([1, 0, 0], (6, 1)))


def test_a_material_that_is_not_there_costs_the_colour():
    mesh = reader.read_dae(dae().replace(b'target="#m"', b'target="#gone"'), "a.dae")
    assert face_areas(mesh).sum() == pytest.approx(7) and mesh.colors is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'<polylist count="1"', b'<polylist count="3"', "claims 3 polygons and has 1"),
        (b'count="24"', b'count="99"', "claims 99 numbers and has 24"),
        (b"<vcount>8", b"<vcount>9", "say 9 corners and list 8"),
        (b"<vcount>8", b"<vcount>-8", "say -8 corners and list 8"),
        (b"6 7</p>", b"6 8</p>", "damaged geometry 'g'"),
        (b"6 7</p>", b"6 -7</p>", "not among its 8"),
        (b"<p>0 1 2 3 4 5 6 7</p>", b"<p></p>", "say 8 corners and list 0"),
        (b"</COLLADA>", b"", "no .dae file that can be read"),
        (b'url="#g"', b'url="#other"', "no face"),
    ],
)
def test_files_that_lie(old, new, message):
    data = dae()
    assert old in data
    with pytest.raises(MeshError, match=message):
        reader.read_dae(data.replace(old, new), "a.dae")


def test_nodes_that_name_each_other_often_are_refused(monkeypatch):
    monkeypatch.setattr(reader, "MAX_ELEMENTS", 50)
    monkeypatch.setattr("pointrecon.datasets.meshes.mesh.MAX_ELEMENTS", 50)
    two = '<node id="n{0}"><instance_node url="#n{1}"/><instance_node url="#n{1}"/></node>'
    names = [two.format(row, row - 1) for row in range(1, 40)]
    nodes = f'<library_nodes><node id="n0">{PLACED}</node>{"".join(names)}</library_nodes><library_visual_scenes>'
    data = dae(nodes='<node><instance_node url="#n39"/></node>').replace(b"<library_visual_scenes>", nodes.encode())
    with pytest.raises(MeshError, match="over 50"):
        reader.read_dae(data, "a.dae")


def test_without_its_package(monkeypatch):
    monkeypatch.setattr(reader.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MeshError, match="needs the package pycollada"):
        reader.read_dae(dae(), "a.dae")
