"""DebShapes: what was packed comes out, files that do not belong together are refused."""

import json
import pickle

import h5py
import numpy as np
import pytest
import torch

from pointrecon.datasets.meshes.render import encode
from pointrecon.datasets.sets.debshapes import DebShapes
from pointrecon.datasets.sets.manifest import FIELDS, MANIFEST, POINTS, VIEWS
from pointrecon.tools.debshapes.pack import Entry, pack_shapes
from pointrecon.tools.debshapes.shape import Shape, to_bytes
from pointrecon.utils.errors import InputError
from tests.datasets import opened


def color(number, view):
    """The colour that all of a picture has."""
    return np.array([20 * number + 10, 60 * view + 10, 100], np.uint8)


@pytest.fixture
def root(tmp_path):
    random = np.random.RandomState(0)
    entries = []
    for number in range(8):
        source = "kicad" if number % 2 else "toys"
        views = [encode(np.tile(color(number, view), (16, 16, 1))) for view in range(4)]
        path = tmp_path / f"{number}.npz"
        path.write_bytes(to_bytes(Shape(random.randn(32, 3).astype(np.float16), views, 1.0)))
        row = {**dict.fromkeys(FIELDS, ""), "id": f"{source}:{number}", "text": f"thing {number}"}
        entries.append(Entry(row, path))
    pack_shapes(tmp_path / "debshapes", entries)
    return tmp_path


def test_gives_every_shape_once(root):
    parts = [opened("DebShapes", root, split) for split in ("pretrain", "test")]
    assert sorted(parts[0].ids + parts[1].ids) == sorted(f"{'kicad' if n % 2 else 'toys'}:{n}" for n in range(8))
    assert 1 <= len(parts[1]) < len(parts[0])
    for part in parts:
        for index, name in enumerate(part.ids):
            sample, number = part[index], int(name[-1])
            stored = np.load(root / f"{number}.npz")["points"]
            np.testing.assert_array_equal(sample["points"].numpy(), stored.astype(np.float32))
            assert sample["points"].dtype == torch.float32 and sample["label"] == -1
            assert (sample["id"], sample["text"], part.names[index]) == (name, f"thing {number}", f"thing {number}")
        assert part.labels.tolist() == [-1] * len(part) and part.num_classes == 0 and part.is_fps_ordered


@pytest.mark.parametrize("view", [0, 3])
def test_gives_the_picture_of_a_view(root, view):
    part = opened("DebShapes", root, "pretrain", images=True, view=view)
    for index, name in enumerate(part.ids):
        image = part[index]["image"]
        assert image.shape == (3, 16, 16) and image.dtype == torch.float32
        wanted = torch.from_numpy(color(int(name[-1]), view)) / 255
        assert (image.mean((1, 2)) - wanted).abs().max() < 0.03
    assert "image" not in DebShapes(str(root))[0]


def test_keeps_only_the_sources_that_are_asked_for(root):
    part = DebShapes(str(root), sources=["kicad"])
    assert part.ids and all(name.startswith("kicad:") for name in part.ids)
    assert DebShapes(str(root), sources="toys").ids[0].startswith("toys:")
    with pytest.raises(InputError, match="there are: kicad, toys"):
        DebShapes(str(root), sources=["kicat"])


def test_leaves_out_and_is_small_to_send(root):
    part = opened("DebShapes", root, "pretrain", images=True)
    first, rest = part.ids[0], part.ids[1:]
    before = part[1]
    part.leave_out([first])
    assert part.num_skipped == 1
    assert part.ids == rest and len(part.names) == len(part.labels) == len(part) == len(rest)
    copy = pickle.loads(pickle.dumps(part))
    for key in ("points", "image"):
        assert torch.equal(copy[0][key], before[key])
    assert len(pickle.dumps(part._points)) < 1000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "train"}, "its splits are pretrain and test"),
        ({"split": "pretrian"}, "did you mean 'pretrain'"),
        ({"fold": 0}, "fold is 0"),
        ({"shots": 5}, "shots 5"),
        ({"val_fraction": 0.1}, "val_fraction 0.1"),
        ({"images": True, "view": 4}, "must be 0 to 3"),
    ],
)
def test_refuses_arguments_in_one_sentence(root, options, message):
    options = dict(options)
    with pytest.raises(InputError, match=message):
        opened("DebShapes", root, options.pop("split", "pretrain"), **options)


def test_says_how_to_make_what_is_not_there(tmp_path):
    with pytest.raises(InputError, match="prepare_data.py debshapes"):
        DebShapes(str(tmp_path))
    (survey,) = DebShapes.survey(str(tmp_path))
    assert survey.status == "not found" and "prepare_data.py" in survey.source


def test_refuses_files_that_do_not_belong_together(root):
    manifest = root / "debshapes" / MANIFEST
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows[0]["text"] = "something else"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match="does not belong to"):
        DebShapes(str(root))
    (survey,) = DebShapes.survey(str(root))
    assert survey.problem is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged; make the data set again"),
        ("", "each line must have id, package"),
        ("[]\n", "each line must have id, package"),
        ('{"id": "a", "text": "b"}\n', "each line must have id, package"),
    ],
)
def test_refuses_a_manifest_that_is_none(root, text, message):
    (root / "debshapes" / MANIFEST).write_text(text)
    with pytest.raises(InputError, match=rf"manifest\.jsonl' .*{message}"):
        DebShapes(str(root))


def test_refuses_points_and_pictures_of_another_shape(root):
    path = root / "debshapes" / POINTS
    with h5py.File(path, "a") as file:
        values = file.pop("points")[:]
        file["points"] = values[..., :2]
    with pytest.raises(InputError, match=r"points\.h5' is damaged: its points are \(8, 32, 2\)"):
        DebShapes(str(root))
    with h5py.File(path, "a") as file:
        del file["points"]
        file["points"] = values[:7]
    with pytest.raises(InputError, match="has 7 shapes, but 'manifest.jsonl' has 8"):
        DebShapes(str(root))


def test_refuses_damage(root):
    with h5py.File(root / "debshapes" / POINTS, "a") as file:
        file["points"][:, 5] = np.nan
    with pytest.raises(InputError, match="damaged"):
        DebShapes(str(root))[0]
    with h5py.File(root / "debshapes" / VIEWS, "a") as file:
        file["webp"][:] = 0
    part = DebShapes(str(root), images=True)
    with pytest.raises(InputError, match="picture of"):
        part._pictures.read(0, "x")
    with h5py.File(root / "debshapes" / VIEWS, "a") as file:
        file["ends"][3] = 10**9
    with pytest.raises(InputError, match="do not add up"):
        DebShapes(str(root), images=True)
    (root / "debshapes" / POINTS).write_bytes(b"short")
    with pytest.raises(InputError, match="points.h5"):
        DebShapes(str(root))


def test_survey_counts_what_is_there(root):
    (survey,) = DebShapes.survey(str(root))
    assert (survey.status, survey.found, survey.problem) == ("complete", 8, None)
