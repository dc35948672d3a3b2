"""ShapeNet-55 in miniature: lists and categories in every form, lazy reading, damaged files, skipping, the survey."""

import json
import logging
import os
import pickle
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import pointrecon.datasets.sets.shapenet
from pointrecon.datasets.sets.shapenet import ShapeNet55, read_categories
from pointrecon.utils.errors import InputError
from tests.datasets import opened

CATEGORIES = [("4379243", "table"), (2691156, "airplane"), ("02808440", "bathtub_tub")]
TRAIN = [f"{number}-a{row}" for row in range(4) for number in ("02691156", "02808440", "04379243")]
TEST = [f"{number}-b0" for number in ("02691156", "02808440", "04379243")]
CLOUDS = dict(zip(TRAIN + TEST, np.random.RandomState(0).randn(15, 16, 3).astype(np.float32), strict=True))


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "ShapeNet55-34"
    for name in ("shapenet_pc", "shapenet_img", "ShapeNet-55"):
        (made / name).mkdir(parents=True)
    entries = [{"catalogue": number, "describe": name, "more": 1} for number, name in CATEGORIES]
    (made / "shapenet55.json").write_text(json.dumps(entries))
    (made / "ShapeNet-55" / "train.txt").write_bytes("\r\n".join(f"{name}.npy" for name in TRAIN).encode())
    (made / "ShapeNet-55" / "test.txt").write_text("\n".join(f"{name}.npy" for name in TEST) + "\n\n")
    for row, (name, points) in enumerate(CLOUDS.items()):
        np.save(made / "shapenet_pc" / f"{name}.npy", points)
        Image.new("RGBA", (6, 4), (10 * row, 100, 200, 255)).save(made / "shapenet_img" / f"{name}.png")
    return made


def build(folder, split="pretrain", **options):
    return opened("ShapeNet55", folder.parent, split, num_stored=16, **options)


@pytest.fixture
def messages(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("recon"), "propagate", True)
    caplog.set_level(logging.WARNING, logger="recon")
    return caplog


def test_item(folder):
    dataset = build(folder)
    sample = dataset[4]
    assert set(sample) == {"points", "label", "text", "id"}
    assert (sample["id"], sample["label"], sample["text"]) == ("02808440-a1", 1, "bathtub_tub")
    assert sample["points"].dtype == torch.float32
    np.testing.assert_array_equal(sample["points"].numpy(), CLOUDS["02808440-a1"])
    assert dataset.ids == TRAIN and dataset.names[4] == sample["text"] and dataset.labels.tolist() == [0, 1, 2] * 4
    assert dataset.class_names == ["airplane", "bathtub_tub", "table"] and dataset.num_classes == 3
    assert dataset.class_texts[1] == "bathtub tub" and set(dataset.split_of) == {"train"}
    assert dataset.features_path == folder / "teachers.h5"


def test_pictures(folder):
    sample = build(folder, images=True)[3]
    assert sample["image"].shape == (3, 4, 6) and sample["image"].dtype == torch.float32
    torch.testing.assert_close(sample["image"][:, 0, 0], torch.tensor([30, 100, 200]) / 255)
    torch.testing.assert_close(build(folder, images=True, bgr=True)[3]["image"], sample["image"].flip(0))


def test_pretraining_does_not_see_the_test_list_unless_asked(folder):
    assert build(folder).ids == TRAIN
    whole = build(folder, whole=True)
    assert whole.ids == TRAIN + TEST and whole.labels.tolist() == [0, 1, 2] * 5 and whole[14]["id"] == TEST[2]
    assert build(folder, "train", whole=True).ids == TRAIN and build(folder, "test", whole=True).ids == TEST
    held_out = set(build(folder, "val", val_fraction=0.25).ids)
    assert len(held_out) == 3 and not held_out & set(build(folder, val_fraction=0.25).ids)
    assert held_out | set(build(folder, "train", val_fraction=0.25).ids) == set(TRAIN)


def test_ratio_keeps_a_part_that_larger_parts_contain(folder):
    parts = [build(folder, ratio=ratio, seed=3) for ratio in (0.25, 0.5, 1.0)]
    assert [len(part) for part in parts] == [3, 6, 12]
    assert set(parts[0].ids) < set(parts[1].ids) < set(parts[2].ids)
    assert parts[1].ids != build(folder, ratio=0.5, seed=4).ids
    assert all(part[1]["label"] == part.labels[1] == TRAIN.index(part.ids[1]) % 3 for part in parts)
    assert len(build(folder, "test", ratio=0.25)) == 3


def test_shots(folder):
    assert build(folder, "train", shots=2).labels.bincount().tolist() == [2, 2, 2]


def test_start_reads_lists_only(folder):
    shutil.rmtree(folder / "shapenet_pc")
    dataset = build(folder)
    assert len(dataset) == 12 and len(pickle.loads(pickle.dumps(dataset))) == 12
    with pytest.raises(InputError, match=r"02691156-a0\.npy' cannot be read"):
        dataset[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fold": 1}, "ShapeNet55 has none"),
        ({"ratio": 0}, "ratio is 0"),
        ({"ratio": 1.5}, "ratio is 1.5"),
        ({"ratio": 0.5, "shots": 1, "split": "train"}, "give one of them"),
        ({"on_error": "stop"}, "data.on_error is 'stop'"),
        ({"split": "all"}, "split is 'all'"),
    ],
)
def test_wrong_option_is_refused(folder, options, message):
    with pytest.raises(InputError, match=message):
        build(folder, **{"split": "pretrain", **options})


@pytest.mark.parametrize(
    "content",
    [
        [{"catalogue": 2691156, "describe": "airplane "}, {"catalogue": "04379243", "describe": "table"}],
        {"x": {"catalogue": "4379243", "describe": "table"}, "y": {"catalogue": "2691156", "describe": "airplane"}},
        [{"catalogue": 2691156, "describe": "airplane"}] * 2 + [{"catalogue": 4379243, "describe": "table"}],
    ],
)
def test_categories_in_every_form(tmp_path, content):
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert list(read_categories(tmp_path / "a.json").items()) == [("02691156", "airplane"), ("04379243", "table")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("7", "must hold a list"),
        ("[]", "must hold a list"),
        ('["table"]', "entry 'table', but entries must have 'catalogue'"),
        ('{"02691156": "airplane"}', "entry 'airplane', but entries must have 'catalogue'"),
        ('[{"catalogue": "02691156"}]', "must have 'catalogue' and 'describe'"),
        ('[{"catalogue": "x", "describe": "y"}]', "'catalogue' must be a number"),
        ('[{"catalogue": 1, "describe": ""}]', "'describe' a name"),
        ('[{"catalogue": 1, "describe": "a"}, {"catalogue": "01", "describe": "b"}]', "two names, 'a' and 'b'"),
        ("[", "not valid JSON"),
    ],
)
def test_bad_categories_are_refused(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError, match=rf"a\.json' .*{message}"):
        read_categories(tmp_path / "a.json")


@pytest.mark.parametrize("name", ["shapenet55.json", "ShapeNet-55/train.txt"])
def test_missing_list_says_where_it_comes_from(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=rf"{re.escape(name)}'.*https://github\.com/"):
        build(folder)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("02691156-a0", "must be like"),
        ("../../secret-x.npy", "must be like"),
        ("airplane.npy", "must be like"),
        ("02691156-a0.npy", "lists '02691156-a0' twice"),
        ("09999999-a0.npy", r"no category 09999999 in '.*shapenet55\.json'"),
    ],
)
def test_bad_line_is_refused(folder, line, message):
    with open(folder / "ShapeNet-55" / "train.txt", "a") as file:
        file.write(f"\n{line}")
    with pytest.raises(InputError, match=message):
        build(folder)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def pickled(path):
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (os.remove, "cannot be read"),
        (cut, "cannot be read"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (pickled, "cannot be read"),
        (lambda path: np.save(path, np.zeros((15, 3))), "has 15 points, but must have 16"),
        (lambda path: np.save(path, np.zeros((16, 2))), r"shape \(16, 2\)"),
        (lambda path: np.save(path, np.full((16, 3), np.nan)), "NaN"),
    ],
)
def test_bad_cloud_is_refused_by_name(folder, damage, message):
    damage(folder / "shapenet_pc" / f"{TRAIN[2]}.npy")
    with pytest.raises(InputError, match=rf"shapenet_pc/{TRAIN[2]}\.npy' .*{message}"):
        build(folder)[2]


@pytest.mark.parametrize("damage", [os.remove, cut, lambda path: path.write_text("<html>not found</html>")])
def test_bad_picture_is_refused_by_name(folder, damage):
    damage(folder / "shapenet_img" / f"{TRAIN[2]}.png")
    assert build(folder)[2]["id"] == TRAIN[2], "who needs no picture reads none"
    with pytest.raises(InputError, match=rf"picture '.*shapenet_img/{TRAIN[2]}\.png' cannot be read"):
        build(folder, images=True)[2]


def test_skipping_takes_the_next_object_and_says_so_once(folder, messages):
    for row in (10, 11, 0):
        cut(folder / "shapenet_pc" / f"{TRAIN[row]}.npy")
    dataset = build(folder, on_error="skip")
    assert dataset.num_skipped == 0
    assert [dataset[row]["id"] for row in (10, 10, 11, 1)] == [TRAIN[1]] * 4
    assert dataset[11]["label"] == dataset.labels[1]
    assert dataset.num_skipped == 3 and len(messages.records) == 3
    assert f"skipped object '{TRAIN[10]}'" in messages.text and len(dataset) == 12


def test_skipping_everything_is_an_error(folder):
    shutil.rmtree(folder / "shapenet_pc")
    dataset = build(folder, on_error="skip")
    for _ in range(2):
        with pytest.raises(InputError, match="none of the 12 objects"):
            dataset[5]


def test_survey_of_nothing(tmp_path):
    shapes, pictures = ShapeNet55.survey(str(tmp_path))
    assert shapes.status == pictures.status == "not found" and shapes.expected == 52470
    assert "shapenet55.json" in shapes.problem and "Point-BERT" in shapes.source and "qizekun" in pictures.source


def test_survey_names_the_first_bad_file(folder, monkeypatch):
    monkeypatch.setattr(pointrecon.datasets.sets.shapenet, "_MIN_BYTES_CLOUD", 16 * 3 * 4)
    shapes, _ = ShapeNet55.survey(str(folder.parent))
    assert shapes.found == 15 and shapes.problem == "the lists name 15 objects, but 52,470 are published"
    monkeypatch.setattr(pointrecon.datasets.sets.shapenet, "NUM_OBJECTS", 15)
    shapes, pictures = ShapeNet55.survey(str(folder.parent))
    assert shapes.status == "complete"
    path = folder / "shapenet_pc" / f"{TRAIN[5]}.npy"
    path.write_bytes(b"x" * 10)
    (shapes, _) = ShapeNet55.survey(str(folder.parent))
    assert shapes.found == 14 and shapes.problem == f"'{path}' has only 10 bytes"
    path.unlink()
    (folder / "shapenet_pc" / f"{TEST[1]}.npy").unlink()
    (shapes, _) = ShapeNet55.survey(str(folder.parent))
    assert shapes.found == 13 and shapes.problem == f"'{path}' is missing (2 such files)"
    shutil.rmtree(folder / "shapenet_img")
    assert "no folder" in ShapeNet55.survey(str(folder.parent))[1].problem
    (folder / "shapenet55.json").write_text("[")
    assert "not valid JSON" in ShapeNet55.survey(str(folder.parent))[0].problem


def test_overlapping_lists_are_refused(folder):
    with open(folder / "ShapeNet-55" / "test.txt", "a") as file:
        file.write("".join(f"{name}.npy\n" for name in TRAIN[3:5]))
    for split in ("pretrain", "train", "test"):
        with pytest.raises(InputError, match=f"2 of the 5 test objects of ShapeNet-55 .* first '{TRAIN[3]}'"):
            build(folder, split)
    (folder / "ShapeNet-55" / "test.txt").unlink()
    assert len(build(folder)) == 12, "one list alone is enough to train"


PANDAS = {"catalogue": [4379243, 2691156, 2808440], "describe": ["table", "airplane", "bathtub_tub"]}
ROWS = list(zip(*PANDAS.values(), strict=True))


@pytest.mark.parametrize(
    "content",
    [
        {key: {str(row): value for row, value in enumerate(values)} for key, values in PANDAS.items()},  # columns
        PANDAS,  # list
        {"columns": list(PANDAS), "index": [0, 1, 2], "data": [list(row) for row in ROWS]},  # split
        {"schema": {"fields": []}, "data": [dict(zip(PANDAS, row, strict=True)) for row in ROWS]},  # table
        {str(row): dict(zip(PANDAS, values, strict=True)) for row, values in enumerate(ROWS)},  # index
        [dict(zip(PANDAS, row, strict=True)) for row in ROWS],  # records
    ],
)
def test_categories_in_every_form_of_pandas(folder, content):
    for mark in ("", "\ufeff"):
        (folder / "shapenet55.json").write_text(mark + json.dumps(content))
        assert build(folder).class_names == ["airplane", "bathtub_tub", "table"]


def test_damaged_pandas_form_is_refused(folder):
    (folder / "shapenet55.json").write_text(json.dumps({"catalogue": {"0": 1}, "describe": {"1": "a"}}))
    with pytest.raises(InputError, match="entries must have 'catalogue'"):
        build(folder)
