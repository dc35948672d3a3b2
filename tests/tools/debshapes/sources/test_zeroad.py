"""0 A.D.: meshes of an archive, the textures that actors give them, and actors that are broken or hostile."""

import io
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

from pointrecon.datasets.meshes.mesh import MeshError
from pointrecon.tools.debshapes.sources.packages import ROOT_FILE
from pointrecon.tools.debshapes.sources.sources import SOURCES
from pointrecon.tools.debshapes.sources.zeroad import ARCHIVE, list_meshes, parse_xml, read_model, read_skins
from pointrecon.tools.debshapes.sources.zeroad_names import DROP

RED, BLUE, CLEAR = (255, 0, 0, 255), (0, 0, 255, 255), (0, 255, 0, 0)
ACTOR = """<actor version="1">
  <group><variant>{variant}</variant></group>
  <group><variant><textures><texture file="other.png" name="baseTex"/></textures></variant></group>
  <material>{material}</material>
</actor>"""
MESH = "<mesh>{0}.dae</mesh>"
SKIN = '<textures><texture file="n.png" name="normTex"/><texture file="{0}" name="baseTex"/></textures>'


def pmd():
    """Two triangles one above the other; the left half of a texture is on the first, the right half on the second."""
    body = struct.pack("<2I", 6, 1)
    for height, u in ((0, 0.25), (1, 0.75)):
        for x, z in ((0, 0), (1, 0), (0, 2)):
            body += struct.pack("<8f4B4f", x, height, z, 0, 1, 0, u, 0.5, 255, 255, 255, 255, 0, 0, 0, 0)
    body += struct.pack("<I6H2I", 2, *range(6), 0, 0)
    return struct.pack("<4s2I", b"PSMD", 4, len(body)) + body


def dds(left, right):
    out = io.BytesIO()
    Image.fromarray(np.uint8([[left, left, right, right]] * 4)).save(out, "DDS")
    return out.getvalue()


def make_root(tmp_path, actors=(), meshes=("structural/house",), images=()):
    path = tmp_path / ARCHIVE
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in meshes:
            archive.writestr(f"art/meshes/{name}.dae.cached.pmd", pmd())
        for name, data in actors:
            archive.writestr(f"art/{name}.xml", data)
        for name, data in images:
            archive.writestr(f"art/textures/skins/{name}.cached.dds", data)
    (tmp_path / ROOT_FILE).write_text("0ad-data 1.0\n")
    return tmp_path


def read(root):
    (item,) = SOURCES["0ad"].list_items(root)
    return SOURCES["0ad"].read(root, item)


def test_items_have_the_bare_name_and_are_things_of_their_own(tmp_path):
    meshes = ("structural/brit_house_01", "structural/brit_house_01_props", "test/tower", "gaia/tree_oak_top_a")
    root = make_root(tmp_path, meshes=meshes)
    (item,) = SOURCES["0ad"].list_items(root)
    assert (item.name, item.hints, item.package) == ("brit_house_01", ("structural",), "0ad-data")
    assert item.path.partition("#")[2] == "art/meshes/structural/brit_house_01.dae.cached.pmd"
    assert SOURCES["0ad"].is_optional and SOURCES["0ad"].keep(ARCHIVE) and not SOURCES["0ad"].keep(ARCHIVE + "x")


@pytest.mark.parametrize(
    ("name", "is_dropped"),
    [
        ("structural/aeroplane", False),
        ("structural/elven_transport", False),
        ("structural/maur_house_a_struct_b", False),
        ("skeletal/mastiff", False),
        ("gaia/wrld_sp_snowman", False),
        ("gaia/geo_waterfall_cave", False),
        ("gaia/geo_waterfall_cave_water", True),
        ("gaia/baobab_1_leaves", True),
        ("gaia/trees/leaves/acacia_01", True),
        ("props/maur_stable_roof", False),
        ("props/hele_corral_roof", True),
        ("props/rome_trireme_main_sail", True),
        ("props/special/shipwreck_sail_boat", False),
        ("props/kart_house_b_2", True),
        ("structural/kart_house_01", False),
        ("props/shield/oval_01", False),
        ("props/shield/oval_01_b", True),
        ("props/helmet/props/hele_crest_a", True),
    ],
)
def test_parts_are_left_out(name, is_dropped):
    assert bool(DROP.search(name)) == is_dropped


def test_mesh_is_mirrored_and_faces_turn_with_it(tmp_path):
    mesh = read(make_root(tmp_path))
    assert mesh.colors is None
    np.testing.assert_allclose(mesh.vertices[:3], [[0, 0, 0], [1, 0, 0], [0, 0, -2]])
    a, b, c = mesh.vertices[mesh.faces[0]]
    assert np.cross(b - a, c - a)[1] > 0, "the face looks where its normal in the file does"


def test_texture_is_that_of_the_variant_else_of_the_actor(tmp_path):
    images = (("own.png", dds(RED, BLUE)), ("other.png", dds(BLUE, BLUE)))
    own = ACTOR.format(variant=MESH.format("structural/House") + SKIN.format("own.png"), material="default.xml")
    root = make_root(tmp_path / "a", [("actors/a", own)], images=images)
    np.testing.assert_allclose(read(root).colors, [[1, 0, 0], [0, 0, 1]], atol=0.05)
    bare = ACTOR.format(variant=MESH.format("structural/house"), material="")
    root = make_root(tmp_path / "b", [("actors/a", bare)], images=images)
    np.testing.assert_allclose(read(root).colors, [[0, 0, 1]] * 2, atol=0.05)


def test_texture_comes_from_what_a_variant_builds_on_and_a_circle_ends(tmp_path):
    actor = '<actor><group><variant file="A/b.xml"/></group></actor>'
    first = f'<variant file="a/c.xml">{MESH.format("structural/house")}</variant>'
    second = f'<variant file="a/b.xml">{SKIN.format("own.png")}</variant>'
    files = [("actors/a", actor), ("variants/a/b", first), ("variants/a/c", second)]
    root = make_root(tmp_path, files, images=[("own.png", dds(RED, RED))])
    np.testing.assert_allclose(read(root).colors, [[1, 0, 0]] * 2, atol=0.05)


def test_the_most_frequent_texture_wins_then_the_first_by_name(tmp_path):
    def actor(texture):
        return ACTOR.format(variant=MESH.format("structural/house") + SKIN.format(texture), material="")

    names = ["b.png", "a.png", "c.png", "c.png"]
    root = make_root(tmp_path / "1", [(f"actors/{place}", actor(name)) for place, name in enumerate(names)])
    assert read_skins(root / ARCHIVE)["structural/house"].texture == "c.png"
    root = make_root(tmp_path / "2", [(f"actors/{place}", actor(name)) for place, name in enumerate(names[:3])])
    assert read_skins(root / ARCHIVE)["structural/house"].texture == "a.png"


def test_holes_count_in_cut_out_materials_only(tmp_path):
    def colors(folder, material):
        actor = ACTOR.format(variant=MESH.format("structural/house") + SKIN.format("own.png"), material=material)
        return read(make_root(folder, [("actors/a", actor)], images=[("own.png", dds(RED, CLEAR))])).colors

    np.testing.assert_allclose(colors(tmp_path / "a", "basic_trans.xml"), [[1, 0, 0]] * 2, atol=0.05)
    # There the player's colour shines through; the texture itself is what does not depend on players.
    np.testing.assert_allclose(colors(tmp_path / "b", "player_trans.xml"), [[1, 0, 0], [0, 1, 0]], atol=0.05)


@pytest.mark.parametrize("image", [None, b"", b"DDS " + bytes(200), dds(RED, RED)[:90], b"no image"])
def test_mesh_without_a_readable_texture_has_no_colours(tmp_path, image):
    actor = ACTOR.format(variant=MESH.format("structural/house") + SKIN.format("own.png"), material="")
    images = [] if image is None else [("own.png", image)]
    assert read(make_root(tmp_path, [("actors/a", actor)], images=images)).colors is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<actor>",
        b"<actor/><actor/>",
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b'<!DOCTYPE a [<!ENTITY b "b">]><a>&b;</a>',
        '<!DOCTYPE a [<!ENTITY b "b">]><a>&b;</a>'.encode("utf-16"),
        b"<a>&b;</a>",
        b'<?xml version="1.0" encoding="latin-1"?><a>\xe9</a>',
        b"\xff\xfe\x00",
    ],
)
def test_broken_and_hostile_xml_is_refused_and_costs_colours_only(tmp_path, data):
    with pytest.raises(ValueError):
        parse_xml(data)
    assert read_skins(make_root(tmp_path, [("actors/a", data)]) / ARCHIVE) == {}


def test_deep_and_large_xml_does_no_harm(tmp_path):
    deep = b"<actor>" * 50_000 + b"</actor>" * 50_000
    large = ACTOR.format(variant=MESH.format("structural/house") + SKIN.format("a.png"), material=" " * (1 << 20))
    root = make_root(tmp_path, [("actors/deep", deep), ("actors/large", large)])
    assert read_skins(root / ARCHIVE) == {}


def test_what_is_no_mesh_of_the_archive_is_told(tmp_path):
    archive = make_root(tmp_path) / ARCHIVE
    (member, path), *_ = list_meshes(archive)
    assert path == "structural/house"
    for wrong in ("art/meshes/../../etc/passwd", "art/actors/a.xml", member + "x", "art/meshes/none.pmd"):
        with pytest.raises(MeshError, match="not among"):
            read_model(archive, wrong)
    with pytest.raises(MeshError, match="no archive"):
        list(list_meshes(tmp_path / "none.zip"))
