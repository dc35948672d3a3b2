"""Labels from paths: the first class that fits, small classes left out, folds that share the objects."""

import numpy as np
import pytest

from pointrecon.datasets.meshes.render import encode
from pointrecon.datasets.sets import debshapes_classes
from pointrecon.datasets.sets.debshapes_classes import TABLES, read_table
from pointrecon.datasets.sets.manifest import FIELDS
from pointrecon.tools.debshapes.pack import Entry, pack_shapes
from pointrecon.tools.debshapes.shape import Shape, to_bytes
from pointrecon.utils.errors import InputError
from tests.datasets import opened

NAMES = ["Capacitor_SMD", "Diode_THT", "Fuse", "Relay_SMD"]


def write(folder, ids):
    """A data set of these ids, with random points."""
    random, entries = np.random.RandomState(0), []
    picture = encode(np.zeros((16, 16, 3), np.uint8))
    for number, name in enumerate(ids):
        path = folder / f"{number:02}.npz"
        path.write_bytes(to_bytes(Shape(random.randn(32, 3).astype(np.float16), [picture], 1.0)))
        entries.append(Entry({**dict.fromkeys(FIELDS, ""), "id": name, "text": "a part"}, path))
    pack_shapes(folder / "debshapes", entries)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    # Twelve capacitors and ten diodes, but one relay: too few for five folds.
    names = [NAMES[number % 2 if number < 20 else (0, 0, 2, 3)[number - 20]] for number in range(24)]
    ids = [f"kicad:x/{name}.3dshapes/{number:02}.wrl" for number, name in enumerate(names)]
    return write(tmp_path_factory.mktemp("root"), ids)


def test_classes_come_from_paths_and_folds_share_the_objects(root):
    seen = []
    for fold in range(5):
        train, test = (opened("DebShapesClasses", root, split, fold=fold) for split in ("train", "test"))
        assert train.class_names == ["capacitor", "diode"] and not set(train.ids) & set(test.ids)
        for part in (train, test):
            for index, name in enumerate(part.ids):
                sample = part[index]
                assert sample["label"] == ("Diode" in name)
                assert sample["text"] == ("capacitor", "diode")[sample["label"]]
                stored = np.load(root / f"{name[-6:-4]}.npz")["points"].astype(np.float32)
                np.testing.assert_array_equal(sample["points"].numpy(), stored)
        seen += test.ids
    assert len(seen) == len(set(seen)) == 22


def test_too_few_classes_and_unknown_tables_are_refused(root):
    with pytest.raises(InputError, match="has 0 of the classes 'craft'"):
        opened("DebShapesClasses", root, "train", classes="craft")
    with pytest.raises(InputError, match="did you mean 'parts'"):
        opened("DebShapesClasses", root, "train", classes="part")


@pytest.mark.parametrize("path", sorted(TABLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_table_is_made_of_patterns(path):
    table = read_table(path.stem)
    assert len(table.classes) >= 2 and all(table.classes.values()) and table.class_of("nothing of this kind") is None
    assert debshapes_classes.MIN_OBJECTS >= 5  # folds


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("gl117:gl-117-data/usr/share/games/gl-117/models/gl-14b.3ds", "airplane"),
        ("gl117:gl-117-data/usr/share/games/gl-117/models/gl-117.3ds", None),
        ("gl117:gl-117-data/usr/share/games/gl-117/models/tank1.3ds", "vehicle"),
        ("opencity:opencity-data/usr/share/games/opencity/graphism/shop/store/store.ac", "building"),
    ],
)
def test_craft(name, kind):
    assert read_table("craft").class_of(name) == kind


def zeroad(name):
    return f"0ad:0ad-data/usr/share/games/0ad/mods/public/public.zip#art/meshes/{name}.dae.cached.pmd"


@pytest.mark.parametrize(
    ("name", "kind", "group"),
    [
        ("gaia/tree_pine_aleppo_3", "tree", "tree_pine_aleppo"),
        ("gaia/campaigns/trees_palm_01", "palm", "trees_palm"),
        ("gaia/tree_oak_large_b", "bare tree", "tree_oak"),
        ("skeletal/horse_persian", "animal", "horse_persian"),
        ("skeletal/animal_fish_shoal", None, None),
        ("props/new/head_beard_large", "head", "head_beard"),
        ("props/armor/greave_10_l", "greave", "greave_10"),
        ("props/weap_xiphos_c", "sword", "xiphos"),
        ("structural/gaul_cult_statue", "statue", "gaul_cult_statue"),
        ("props/structural/gaul_cult_statue_skulls", None, None),
        ("structural/kart_wall_medium_b", "wall", "kart_wall"),
        ("structural/kart_wall_medium_b_foundation", None, None),
        ("structural/kart_wall_medium_b_scaffolding", "scaffold", "kart_wall"),
        ("structural/kart_wall_tower_b", "tower", "kart_wall_tower"),
        ("structural/kart_wall_gate", "gate", "kart_wall_gate"),
        ("structural/han_civic_center_no_towers", "building", "han_civic_center_no_towers"),
        ("structural/ptol_ship_trireme", "ship", "ptol_ship_trireme"),
        ("structural/ptol_ship_trireme_tent", None, None),
        ("structural/spart_barracks_struct", None, None),
        ("structural/spart_barracks", "building", "spart_barracks"),
        ("structural/hele_siege_tower", "siege engine", "hele_siege_tower"),
    ],
)
def test_zeroad(name, kind, group):
    table = read_table("zeroad")
    assert table.class_of(zeroad(name)) == kind
    if group is not None:
        assert table.group_of(zeroad(name)) == f"{group}.dae.cached.pmd"


def test_variants_of_a_model_are_tested_in_one_fold_and_few_models_are_no_class(tmp_path):
    swords = [f"props/weap_{name}_{letter}" for name in ("xiphos", "falcata") for letter in "abcd"]
    swords += [f"props/weapons/{name}_01" for name in ("akinakes", "dagger", "gladius", "sword/weap_han_sword")]
    greaves = [f"props/armor/greave_0{number}_{side}" for number in range(1, 7) for side in "lr"]
    sheaths = [f"props/weapons/sheath_celt_{letter}" for letter in "abcdefghijkl"]  # one model, however many variants
    root, fold_of = write(tmp_path, [zeroad(name) for name in swords + greaves + sheaths]), {}
    for fold in range(5):
        test = opened("DebShapesClasses", root, "test", fold=fold, classes="zeroad")
        assert test.class_names == ["greave", "sword"]
        for name in test.ids:
            fold_of.setdefault(read_table("zeroad").group_of(name), []).append(fold)
    assert sum(map(len, fold_of.values())) == 24 and all(len(set(folds)) == 1 for folds in fold_of.values())
    assert sorted(map(len, fold_of.values())) == [1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 4, 4]
