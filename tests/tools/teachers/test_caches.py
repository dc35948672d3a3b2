"""Where a cache is, what a config says it must be made of, and how a teacher is set up."""

from types import SimpleNamespace

import pytest
import torch

from pointrecon.datasets.teacher_cache.writer import ImageFeatures, write_features
from pointrecon.models.teachers.base import FrozenTeacher
from pointrecon.tools.teachers.caches import IMAGENET, cache_path, is_live, open_cache, place_teacher, wanted_info
from pointrecon.utils.config import load_config
from pointrecon.utils.errors import InputError

CONFIG = "cfgs/pretrain/base.yaml"
DATASET = SimpleNamespace(features_path="data/teachers.h5", class_names=["chair", "lamp"], ids=["a"])


def config(*overrides):
    return load_config(CONFIG, list(overrides))


def test_path_is_the_sections_or_the_data_sets_own():
    assert str(cache_path(config(), "image", DATASET)) == "data/teachers.h5"
    assert str(cache_path(config("teachers.image.path=x.h5"), "image", DATASET)) == "x.h5"
    assert str(cache_path(config("protocol=published"), "image", DATASET)) == "data/teachers-published.h5"
    with pytest.raises(InputError, match="brings no teacher features.*cache_teacher_features.py"):
        cache_path(config(), "image", SimpleNamespace(features_path=None))
    with pytest.raises(InputError, match="did you mean 'TimmTeacher'"):
        cache_path(config("teachers.image.type=TimTeacher"), "image", DATASET)


def test_the_config_says_what_a_cache_must_be_made_of():
    info = wanted_info(config("teachers.image.seed=4", "seed=9"), "image", DATASET)
    assert info["teacher.model"] == "vit_base_patch16_224.augreg_in21k" and info["transform.seed"] == "4"
    assert info["transform.published"] == "false"
    assert wanted_info(config("protocol=published"), "image", DATASET)["transform.published"] == "true"
    assert wanted_info(config(), "text", DATASET)["prompts.classes"] == "chair, lamp"
    unnamed = config("teachers.image.type=CachedFeatures", "teachers.text.type=CachedFeatures")
    assert wanted_info(unnamed, "image", DATASET) == {"transform.published": "false"}
    assert wanted_info(unnamed, "text", DATASET) == {}


def test_published_colours_are_not_taken_for_others(tmp_path):
    info = wanted_info(config("protocol=published"), "image", DATASET)
    write_features(tmp_path / "cache.h5", ImageFeatures(["a"], [torch.ones(1, 1, 2).numpy()], info))
    path = f"teachers.image.path={tmp_path / 'cache.h5'}"
    assert open_cache(config(path, "protocol=published"), "image", DATASET).width("image") == 2
    for overrides in ([], ["teachers.image.type=CachedFeatures"]):
        with pytest.raises(InputError, match="transform.published: given 'false', cache 'true'"):
            open_cache(config(path, *overrides), "image", DATASET)


def test_who_is_live():
    assert not is_live(config(), "image") and is_live(config("teachers.image.cached=false"), "image")
    assert not is_live(config("teachers.image=null"), "image")
    with pytest.raises(InputError, match="teachers.text.cached is false, but teachers.text.type is CachedFeatures"):
        is_live(config("teachers.text.cached=false", "teachers.text.type=CachedFeatures"), "text")


def test_published_statistics_replace_the_networks_own():
    def teacher():
        return FrozenTeacher(torch.nn.Linear(1, 1), 1, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    assert place_teacher(teacher(), "image", "cpu").mean.flatten().tolist() == [0.5, 0.5, 0.5]
    assert place_teacher(teacher(), "image", "cpu", True).mean.flatten().tolist() == pytest.approx(IMAGENET[0])
    assert place_teacher(teacher(), "text", "cpu", True).mean.flatten().tolist() == [0.5, 0.5, 0.5]


@pytest.mark.gpu
def test_what_sees_is_halved_on_a_gpu_and_what_reads_is_not():
    placed = {
        kind: place_teacher(FrozenTeacher(torch.nn.Linear(1, 1), 1, 8), kind, "cuda") for kind in ("image", "text")
    }
    dtypes = {kind: teacher.network.weight.dtype for kind, teacher in placed.items()}
    assert dtypes == {"image": torch.float16, "text": torch.float32}
