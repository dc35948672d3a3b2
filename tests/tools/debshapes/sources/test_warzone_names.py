"""Codes of file names become words; names that are words stay."""

import pytest

from pointrecon.tools.debshapes.sources.sources import Item
from pointrecon.tools.debshapes.sources.text import text_of


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("components/prop/prhltrk2", "caterpillar tracks"),
        ("components/weapons/gnhmg1", "machine gun"),
        ("components/weapons/gnhair", "gun"),
        ("components/bodies/tractor", "tractor"),
        ("features/miwrek4", "wreck"),
        ("structs/research_module4_col", "laboratory building"),
        ("misc/researchimds/icspaner", "spanner"),
    ],
)
def test_codes_become_words(path, text):
    *folders, name = path.split("/")
    item = Item("warzone2100", "warzone2100-data", "1", f"base.wz#{path}.pie", name, tuple(folders))
    assert text_of(item) == text
