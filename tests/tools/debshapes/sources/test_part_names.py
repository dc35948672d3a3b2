"""Names of meshes whose file names are codes."""

import pytest

from pointrecon.tools.debshapes.sources.part_names import name_of
from pointrecon.tools.debshapes.sources.sources import SOURCES, Item
from pointrecon.tools.debshapes.sources.text import family_of, text_of


@pytest.mark.parametrize(
    ("source", "hints", "name", "text"),
    [
        ("colobot", (), "teen32", "office chair"),
        ("colobot", (), "quartz3", "quartz crystal"),
        ("colobot", (), "nothing7", "nothing"),
        ("scorched3d", ("tanks",), "apache-long", "attack helicopter"),
        ("dart", ("sdf", "atlas"), "l_farm", "humanoid robot forearm"),
        ("dart", ("urdf", "drchubo", "meshes"), "convhull_RKP_merged", "humanoid robot knee"),
        ("dart", ("urdf", "drchubo", "meshes"), "convhull_NK2", "humanoid robot neck"),
        ("dart", ("urdf", "drchubo", "meshes"), "convhull_", "humanoid robot"),
        ("dart", ("mjcf", "fetch"), "l_wheel_link_collision", "mobile robot wheel"),
        ("dart", ("urdf", "KR5", "meshes"), "base_link", "industrial robot arm base"),
        ("dart", ("urdf", "wam", "meshes", "wam"), "wam3", "robot arm link"),
    ],
)
def test_codes_become_words(source, hints, name, text):
    assert text_of(Item(source, "p", "1", f"a/{name}.x", name, hints)) == text


def test_numbered_names_of_different_things_are_no_family():
    names = ("teen32", "teen12", "quartz0", "quartz1")
    chair, can, first, second = (family_of(Item("colobot", "p", "1", f"m/{name}.mod", name)) for name in names)
    assert chair != can and first == second


def test_other_sources_keep_their_own_words():
    for source in set(SOURCES) - {"colobot", "scorched3d", "dart"}:
        assert name_of(source, ("fetch", "drchubo"), "egg") == ""
