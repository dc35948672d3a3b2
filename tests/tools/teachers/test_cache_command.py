"""The command line of the cache: teachers as KEY=VALUE, and no file is replaced unasked."""

import numpy as np
import pytest

from pointrecon.datasets.teacher_cache.writer import ImageFeatures, write_features
from pointrecon.tools.teachers.cache_command import check_replaces, parse_teacher
from pointrecon.utils.errors import InputError


class Work:
    """As much of the work as is looked at."""

    def __init__(self, **info):
        self.info = {f"teacher.{key}": value for key, value in info.items()}


def test_teachers_are_key_value_pairs():
    pairs = ["type=TimmTeacher", "model=x", "pretrained=null", "depth=3"]
    assert parse_teacher(pairs) == {"type": "TimmTeacher", "model": "x", "pretrained": None, "depth": 3}
    assert parse_teacher([]) == {}
    with pytest.raises(InputError, match="KEY=VALUE"):
        parse_teacher(["type=TimmTeacher", "model"])


def test_a_file_of_other_things_is_replaced_only_if_asked_for(tmp_path):
    path, works = tmp_path / "cache.h5", {"image": Work(model="eye", size="3"), "text": None}
    check_replaces(path, works, overwrite=False)
    write_features(path, ImageFeatures(["a"], [np.ones((1, 1, 2))], works["image"].info))
    check_replaces(path, works, overwrite=False)
    other = {"image": Work(model="nose", size="3"), "text": None}
    with pytest.raises(InputError, match=r"teacher.model: given 'nose', cache 'eye'\).*--overwrite"):
        check_replaces(path, other, overwrite=False)
    check_replaces(path, other, overwrite=True)


def test_no_teacher_at_all_is_refused(tmp_path):
    with pytest.raises(InputError, match="nothing to cache"):
        check_replaces(tmp_path / "cache.h5", {"image": None, "text": None}, overwrite=False)
