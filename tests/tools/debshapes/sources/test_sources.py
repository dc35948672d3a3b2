"""Sources: items with licence and hints from an unpacked package, meshes turned y up."""

import zipfile

import numpy as np
import pytest

from pointrecon.datasets.meshes.mesh import MeshError
from pointrecon.tools.debshapes.sources.packages import ROOT_FILE
from pointrecon.tools.debshapes.sources.sources import SOURCES, Item
from pointrecon.tools.debshapes.sources.sweethome import read_catalogue, read_model
from pointrecon.utils.errors import InputError

OBJ = b"v 0 0 0\nv 1 0 0\nv 0 0 2\nv 0 3 0\nf 1 2 3\nf 1 3 4\nf 1 4 2\nf 2 3 4\n"
WRL = b"""#VRML V2.0 utf8
Shape { geometry IndexedFaceSet { coord Coordinate { point [0 0 0, 1 0 0, 0 0 2] } coordIndex [0,1,2,-1] } }"""
COPYRIGHT = """Format: x

Files: *
Copyright: 2018-2022, KiCad Community <a@b.c>
License: CC-BY-SA-4.0-with-exception

Files: Capacitor_THT.3dshapes/*
Copyright: 2017, kicad StepUp
 2018, Terje Io
License: GPL-3+
 more words
"""
CATALOGUE = """license=CC-BY 3.0
id#1=Scopia#chair
name#1=A ch\\u00e2ir
tags#1=Seat
category#1=Office
model#1=/s/chair.obj
width#1=10
depth#1=20
height#1=30
creator#1=Someone
modelRotation#1=1 0 0 0 0 1 0 -1 0
"""


def make_root(tmp_path, package, files):
    for name, data in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / ROOT_FILE).write_text(f"{package} 1.0\n")
    return tmp_path


def test_kicad_items_have_family_licence_and_stand_upright(tmp_path):
    base = "usr/share/kicad/3dmodels"
    root = make_root(
        tmp_path,
        "kicad-packages3d",
        {
            f"{base}/LED_THT.3dshapes/LED.wrl": WRL,
            f"{base}/Capacitor_THT.3dshapes/C.wrl": WRL,
            f"{base}/LED_THT.3dshapes/LED.step": b"",
            "usr/share/doc/kicad-packages3d/copyright": COPYRIGHT.encode(),
        },
    )
    source = SOURCES["kicad"]
    first, second = source.list_items(root)
    assert (first.name, first.hints, first.licence) == ("C", ("Capacitor_THT",), "GPL-3+")
    assert first.creator == "kicad StepUp; Terje Io"
    assert (second.licence, second.creator) == ("CC-BY-SA-4.0-with-exception", "KiCad Community")
    np.testing.assert_allclose(source.read(root, first).vertices[2], [0, 2, 0])
    assert source.keep(first.path) and not source.keep(f"{base}/LED_THT.3dshapes/LED.step")


def test_furniture_is_turned_stretched_and_has_the_bundled_key(tmp_path):
    path = tmp_path / "usr/share/sweethome3d/furniture/Scopia.sh3f"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("PluginFurnitureCatalog.properties", CATALOGUE)
        archive.writestr("s/chair.obj", OBJ)
    root = make_root(tmp_path, "sweethome3d-furniture", {})
    (item,) = SOURCES["sweethome3d"].list_items(root)
    assert (item.key, item.name, item.hints) == ("Scopia#chair", "A châir", ("Office", "Seat"))
    assert (item.licence, item.creator) == ("CC-BY 3.0", "Someone")
    mesh = SOURCES["sweethome3d"].read(root, item)
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), [10, 30, 20])
    np.testing.assert_allclose(mesh.vertices[2], [0, 30, 0])  # the file's z is up here


def write_furniture(tmp_path, catalogue, name="PluginFurnitureCatalog.properties", files=(("s/chair.obj", OBJ),)):
    path = tmp_path / "Scopia.sh3f"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, catalogue)
        for inner, data in files:
            archive.writestr(inner, data)
    return path


def test_lines_of_a_catalogue_that_are_none_are_passed_over(tmp_path):
    odd = f"# a comment\n! another\nno sign of equality\nname#\xb2=a\nname#{'1' * 5000}=a\nname#x=a\n"
    licence, entries = read_catalogue(write_furniture(tmp_path, (odd + CATALOGUE).encode("latin-1")))
    assert licence == "CC-BY 3.0" and len(entries) == 1 and entries[0]["name"] == "A châir"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("id#1=Scopia#chair", "id#1=other", "has no object 'Scopia#chair'; list its objects again"),
        ("model#1=/s/chair.obj", "model#1=/s/stool.obj", "has no file 's/stool.obj'"),
        ("model#1=/s/chair.obj\n", "", "has no file ''"),
        ("width#1=10\n", "", "says nonsense about 'Scopia#chair' .'width'"),
        ("height#1=30", "height#1=tall", "says nonsense.*tall"),
        ("modelRotation#1=1 0 0", "modelRotation#1=1 0", "says nonsense.*reshape"),
    ],
)
def test_furniture_that_does_not_fit_its_catalogue(tmp_path, old, new, message):
    assert old in CATALOGUE
    path = write_furniture(tmp_path, CATALOGUE.replace(old, new))
    with pytest.raises(MeshError, match=message):
        read_model(path, "Scopia#chair")


def test_an_archive_without_a_catalogue(tmp_path):
    with pytest.raises(MeshError, match="has no 'PluginFurnitureCatalog.properties'; fetch its package again"):
        read_catalogue(write_furniture(tmp_path, CATALOGUE, "other.properties"))


def test_archives_are_read_by_member_and_never_outside(tmp_path):
    path = tmp_path / "usr/share/games/warzone2100/base.wz"
    path.parent.mkdir(parents=True)
    pie = "PIE 3\nPOINTS 3\n0 0 0\n1 0 0\n0 1 0\nPOLYGONS 1\n200 3 0 1 2 0 0 0 0 0 0\n"
    for name in ("base.wz", "mp.wz"):
        with zipfile.ZipFile(path.parent / name, "w") as archive:
            archive.writestr("structs/a.pie", pie)
            archive.writestr("effects/fx.pie", pie)
    root = make_root(tmp_path, "warzone2100-data", {})
    source = SOURCES["warzone2100"]
    items = list(source.list_items(root))
    assert [item.path.partition("#")[2] for item in items] == ["structs/a.pie"] * 2 and len({i.id for i in items}) == 2
    assert len(source.read(root, items[0]).faces) == 1
    with pytest.raises(MeshError, match="outside"):
        source.read(root, Item("warzone2100", "warzone2100-data", "1", "../../x.wz#a.pie", "a"))
    with pytest.raises(MeshError, match="not among"):
        source.read(root, Item("warzone2100", "warzone2100-data", "1", items[0].path + "x", "a"))


def test_furniture_stored_as_if_on_a_wall_stands_too(tmp_path):
    base = "usr/share/games/minetest/mods/homedecor/models"
    files = {f"{base}/homedecor_bed_regular.obj": OBJ, f"{base}/homedecor_fridge.obj": OBJ}
    root = make_root(tmp_path, "minetest-mod-homedecor", files)
    bed, fridge = SOURCES["minetest"].list_items(root)
    np.testing.assert_allclose(SOURCES["minetest"].read(root, bed).vertices[2], [0, 2, 0])
    np.testing.assert_allclose(SOURCES["minetest"].read(root, fridge).vertices[2], [0, 0, -2])


def test_every_source_is_complete():
    for name, source in SOURCES.items():
        assert source.name == name and source.packages and source.keep is not None


def test_folder_that_is_no_package_is_told(tmp_path):
    folder = tmp_path / "usr/share/games/gl-117"
    folder.mkdir(parents=True)
    (folder / "a.3ds").write_bytes(b"")
    with pytest.raises(InputError, match="no unpacked package"):
        list(SOURCES["gl117"].list_items(tmp_path))


def test_each_file_is_in_one_part_of_its_package():
    source = SOURCES["kicad"]
    assert source.num_parts > 1
    paths = [f"usr/share/kicad/3dmodels/LED_THT.3dshapes/LED_{number}.wrl" for number in range(100)]
    parts = [[path for path in paths if source.keep_of(part)(path)] for part in range(source.num_parts)]
    assert sorted(sum(parts, [])) == sorted(paths) and all(len(part) > 10 for part in parts)
    assert not any(source.keep_of(part)("usr/share/kicad/LED.step") for part in range(source.num_parts))


def test_textures_that_no_mesh_uses_are_not_unpacked():
    keep, base = SOURCES["redeclipse"].keep, "usr/share/games/redeclipse/data"
    assert keep(f"{base}/nieb/crate.obj") and keep(f"{base}/nieb/crate.png") and keep(f"{base}/maps/thing.obj")
    assert not keep(f"{base}/skyboxes/sky.png") and not keep(f"{base}/nieb/readme.txt")
