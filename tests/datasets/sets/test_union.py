"""Several data sets as one."""

import numpy as np
import pytest

from pointrecon.datasets.folder.packed_file import write_packed
from pointrecon.datasets.opening import open_split
from pointrecon.datasets.splits import Choice
from pointrecon.datasets.teacher_cache.reader import FeatureCache
from pointrecon.utils.errors import InputError


def open_union(root, split="pretrain", **options):
    options = {"num_points": 32, "num_views": 2, "num_prompts": 2, **options}
    return open_split("Union", str(root), Choice(split=split), options)


def test_parts_follow_each_other_and_bring_their_features(data_root):
    whole = open_split("SweetHome3D", str(data_root), Choice(split="pretrain"))
    fold = open_split("SweetHome3D", str(data_root), Choice(split="pretrain", fold=0))
    both = open_union(
        data_root, parts=[{"type": "SweetHome3D", "fold": 0}, {"type": "RandomShapes", "options": {}}], teachers=[]
    )
    assert list(both.ids[: len(fold)]) == list(fold.ids) and len(both) > len(fold)
    data = open_union(data_root, parts=[{"type": "SweetHome3D", "repeat": 2}])
    assert len(data) == 2 * len(whole) == len(set(data.ids))
    cache = FeatureCache(whole.features_path)
    for row in (0, 5, len(whole) + 5):
        sample, known = data[row], whole[row % len(whole)]
        assert sample["points"].shape == (32, 3) and (sample["points"] == known["points"][:32]).all()
        assert sample["image_features"].shape == (2, 10) and sample["text_features"].shape == (2, 6)
        assert (sample["image_features"] == cache.image_table([known["id"]], 2)[0].half().float()).all()
        assert (sample["text_features"] == cache.text_table([known["id"]], 2)[0]).all()
    mean = cache.image_table(whole.ids, 2).half().double().mean(dim=(0, 1))
    assert data.carried["image"]["mean"] == pytest.approx(mean.tolist(), abs=1e-6)


def test_parts_with_colours_give_them_and_others_the_constant(data_root, tmp_path):
    cloud, red = np.random.RandomState(0).rand(64, 3).astype(np.float16), np.tile(np.uint8([255, 0, 0]), (64, 1))
    about = {"ids": ["a", "b"], "texts": ["x"] * 2, "labels": [0, 0], "splits": ["train"] * 2, "class_names": ["ball"]}
    write_packed(
        tmp_path / "own.h5", [(cloud, red, None)] * 2, about, num_points=64, has_colors=True, has_pictures=False
    )
    own = {"type": "Folder", "options": {"root": str(tmp_path / "own.h5")}}
    data = open_union(
        data_root, parts=[own, {"type": "RandomShapes"}], teachers=[], num_points=16, colors=True, color_fill=0.25
    )
    assert data[0]["colors"].tolist() == [[1.0, 0.0, 0.0]] * 16
    assert data[len(data) - 1]["colors"].tolist() == [[0.25] * 3] * 16
    assert "colors" not in open_union(data_root, parts=[own], teachers=[], num_points=16)[0]


def test_it_pretrains(launch):
    code, folder = launch(
        "data.type=Union",
        "data.num_points=32",
        "epochs=1",
        "data.options={parts: [{type: SweetHome3D}], num_points: 32, num_views: 2, num_prompts: 2}",
    )
    assert code == 0 and (folder / "ckpt-last.pth").is_file()


def test_smaller_clouds_than_asked_for(data_root):
    data = open_union(data_root, parts=[{"type": "SweetHome3D"}], num_points=100_000)
    with pytest.raises(InputError, match="num_points is 100000, but '.*' of SweetHome3D has"):
        data[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "parts is empty"),
        ({"parts": [{"typ": "SweetHome3D"}]}, "takes type, fold, repeat and options"),
        ({"parts": [{"type": "SweetHome3D", "repeat": 0}]}, "repeat is 0"),
        ({"parts": [{"type": "SweetHome3D"}], "num_views": 9}, "num_views"),
        ({"parts": [{"type": "RandomShapes"}]}, "RandomShapes/teachers.h5' does not exist"),
        ({"parts": [{"type": "SweetHome4D"}]}, "did you mean 'SweetHome3D'"),
    ],
)
def test_mistakes(data_root, options, message):
    with pytest.raises(InputError, match=message):
        open_union(data_root, **options)
