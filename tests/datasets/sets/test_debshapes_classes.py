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


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    random, entries = np.random.RandomState(0), []
    picture = encode(np.zeros((16, 16, 3), np.uint8))
    for number in range(24):
        # Twelve capacitors and ten diodes, but one relay: too few for five folds.
        name = NAMES[number % 2 if number < 20 else (0, 0, 2, 3)[number - 20]]
        path = folder / f"{number:02}.npz"
        path.write_bytes(to_bytes(Shape(random.randn(32, 3).astype(np.float16), [picture], 1.0)))
        row = {**dict.fromkeys(FIELDS, ""), "id": f"kicad:x/{name}.3dshapes/{number:02}.wrl", "text": "a part"}
        entries.append(Entry(row, path))
    pack_shapes(folder / "debshapes", entries)
    return folder


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
