"""Contact sheets: every picture is at its place, under the right name, the same each time."""

import numpy as np
import pytest
import torch
from PIL import Image

from pointrecon.datasets.meshes.render import SIZE, encode
from pointrecon.datasets.sets.debshapes import FOLDER, DebShapes
from pointrecon.tools.debshapes.pack import Entry, pack_shapes
from pointrecon.tools.debshapes.shape import Shape, to_bytes
from pointrecon.tools.debshapes.sheets import CAPTION, MAX_LETTERS, draw_classes, draw_sheet, draw_sheets, wrap_caption

IDS = [f"{source}:package/{number}" for source in ("one", "two") for number in range(9)]


class Labelled(DebShapes):
    """The shapes with the parity of their greys as class."""

    def __init__(self, root, **options):
        super().__init__(root, **options)
        self.class_names = ["even", "odd"]

    @property
    def labels(self):
        return torch.arange(len(self.ids)) % 2


@pytest.fixture
def root(tmp_path):
    """A data set of 18 shapes, each in a grey of its own."""
    entries = []
    for number, name in enumerate(IDS):
        view = encode(np.full((SIZE, SIZE, 3), 10 * number, np.uint8))
        points = np.random.RandomState(number).randn(8192, 3).astype(np.float16)
        (tmp_path / f"{number}.npz").write_bytes(to_bytes(Shape(points, [view] * 4, 1.0)))
        row = {"id": name, "package": "package", "version": "1", "path": name, "name": name, "text": name}
        entries.append(Entry({**row, "licence": "CC0-1.0", "creator": ""}, tmp_path / f"{number}.npz"))
    pack_shapes(tmp_path / FOLDER, entries)
    return tmp_path


def test_a_sheet_of_each_source_and_one_of_all(root):
    written = draw_sheets(root)
    assert {path.name for path in written} == {"all.png", "one.png", "two.png"}
    greys = {}
    for path in written:
        sheet = np.asarray(Image.open(path))
        tiles = [
            sheet[y + 64, x + 64, 0]
            for y in range(0, len(sheet), SIZE + CAPTION)
            for x in range(0, sheet.shape[1], SIZE)
        ]
        greys[path.stem] = sorted({int(round(tile / 10)) for tile in tiles if tile < 200})
    assert greys == {"all": list(range(18)), "one": list(range(9)), "two": list(range(9, 18))}
    first = written[0].read_bytes()
    assert draw_sheets(root)[0].read_bytes() == first


def test_a_sheet_of_each_class_and_a_sample_of_all(root, tmp_path):
    shapes = Labelled(str(root), images=True)
    drawn = draw_classes(shapes, tmp_path / "classes", num_sample=5)
    assert {path.stem for path in (tmp_path / "classes").iterdir()} == {"odd", "even", "sample"}
    assert len(set(drawn)) == 5 and drawn == draw_classes(shapes, tmp_path / "again", num_sample=5)
    sheet = np.asarray(Image.open(tmp_path / "classes" / "sample.png"))
    greys = [round(sheet[64, column * SIZE + 64, 0] / 10) for column in range(5)]
    assert [shapes.ids[grey] for grey in greys] == drawn
    odd = np.asarray(Image.open(tmp_path / "classes" / "odd.png"))
    assert {round(odd[64, column * SIZE + 64, 0] / 10) % 2 for column in range(9)} == {1}


def test_pictures_stand_in_rows(tmp_path):
    pictures = [np.full((SIZE, SIZE, 3), number, np.uint8) for number in range(13)]
    sheet = np.asarray(Image.open(draw_sheet(pictures, ["x"] * 13, tmp_path / "sheet.png")))
    assert sheet.shape == (2 * (SIZE + CAPTION), 12 * SIZE, 3)
    assert sheet[5, 11 * SIZE + 5, 0] == 11 and sheet[SIZE + CAPTION + 5, 5, 0] == 12
    assert (sheet[SIZE + CAPTION + 5, SIZE + 5] == 255).all() and (sheet[SIZE : SIZE + CAPTION, :40] < 255).any()


@pytest.mark.parametrize(
    ("caption", "lines"),
    [
        ("chair", ["chair"]),
        ("", []),
        ("weather-beaten wooden garden chair", ["weather-beaten wooden", "garden chair"]),
        ("a very long name of a thing that nobody has ever seen", ["a very long name of a", "thing that nobody ..."]),
    ],
)
def test_captions_are_cut_between_words(caption, lines):
    assert wrap_caption(caption) == lines and all(len(line) <= MAX_LETTERS for line in lines)
