"""The 60 templates, and names put into them."""

import pytest

from pointrecon.datasets.prompts import PREFIXES, SUFFIXES, TEMPLATES, prompts_for, readable, spread_templates
from pointrecon.utils.errors import InputError


def test_templates_are_the_published_ones():
    assert len(PREFIXES) == 20 and len(SUFFIXES) == 3 and len(set(TEMPLATES)) == 60
    assert TEMPLATES[0] == "{}." and TEMPLATES[4] == "A {} with white background."
    assert PREFIXES[6:8] == ("A 3D model of ", "A 3D model of a ")
    assert PREFIXES[12:16] == (
        "A point cloud model of ",
        "A point cloud model of a ",
        "A 3D rendering model of ",
        "A 3D rendering model of a ",
    )
    assert TEMPLATES[-1] == "A 3D rendering image of a {} with black context."


def test_name_is_read_in_every_template():
    prompts = prompts_for("Night_stand")
    assert len(prompts) == 60 and all("night stand" in prompt for prompt in prompts)
    assert prompts[9] == "A model of a night stand."


def test_name_may_contain_anything():
    assert prompts_for("Box {}  50%", ["A {}."]) == ["A box {} 50%."]


def test_empty_name_is_refused():
    with pytest.raises(InputError, match="empty"):
        prompts_for(" _ ")


def test_readable():
    assert readable(" Corner_Sofa\tbed ") == "corner sofa bed"


@pytest.mark.parametrize("count", [1, 7, 20, 33, 60])
def test_spread_has_no_repeats(count):
    chosen = spread_templates(count)
    assert len(chosen) == len(set(chosen)) == count and set(chosen) <= set(TEMPLATES)


def test_spread_of_20_has_each_prefix_and_evenly_the_suffixes():
    chosen = spread_templates(20)
    assert {template.partition("{}")[0] for template in chosen} == set(PREFIXES)
    counts = [sum(template.endswith("{}" + suffix) for template in chosen) for suffix in SUFFIXES]
    assert sorted(counts) == [6, 7, 7]


@pytest.mark.parametrize("count", [0, 61])
def test_spread_out_of_range_is_refused(count):
    with pytest.raises(InputError, match="1 to 60"):
        spread_templates(count)
