"""What --check-data says."""

from pathlib import Path

import pytest

from pointrecon.datasets import DATASETS
from pointrecon.datasets.survey import Survey
from pointrecon.tools import check_data
from pointrecon.utils.errors import InputError
from tests import ROOT

DATA = ROOT / "data"


def entry(name, found, problem=None):
    return Survey(name, Path("folder"), found, 10, problem, "https://example.org/shapes", "for research")


def test_text_has_everything_that_is_known():
    surveys = [entry("Whole", 10), entry("Part", 4, "'x.h5' is\ntruncated"), entry("Away", 0, "no 'y.h5'")]
    text = check_data.format_surveys("data", surveys)
    blocks = text.split("\n\n")
    assert len(blocks) == 5 and blocks[-1] == "1 complete, 1 incomplete, 1 not found"
    assert blocks[1].startswith("complete     Whole: 10 of 10 objects") and "problem" not in blocks[1]
    assert blocks[2].startswith("incomplete   Part: 4 of 10") and "problem: 'x.h5' is truncated\n" in blocks[2]
    assert blocks[3].startswith("not found    Away: 0 of 10") and "no 'y.h5'" in blocks[3]
    assert all("https://example.org/shapes" in block and "for research" in block for block in blocks[1:4])


def test_every_data_set_that_can_tell_is_asked(monkeypatch):
    class Many:
        @staticmethod
        def survey(root):
            return [entry(f"{root} A", 1), entry(f"{root} B", 2)]

    classes = {"Many": Many, "Same": Many, "Silent": object}
    monkeypatch.setattr(DATASETS, "names", lambda: list(classes))
    monkeypatch.setattr(DATASETS, "get", classes.get)
    assert [item.name for item in check_data.survey_all("x")] == ["x A", "x B"]


def test_data_root_comes_from_the_override_the_config_or_the_defaults(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(check_data, "survey_all", lambda root: asked.append(root) or [])
    config = tmp_path / "config.yaml"
    config.write_text(f"data_root: {tmp_path}\n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "other").mkdir()
    for arguments in ((None, []), (config, []), (config, ["data_root=other"]), (None, ["data_root=other"])):
        check_data.describe(*arguments)
    assert asked == ["data", str(tmp_path), "other", "other"]


def test_nothing_but_the_bundled_data_set_is_not_an_error(tmp_path):
    text = check_data.describe(None, [f"data_root={tmp_path}"])
    assert "0 complete, 0 incomplete" in text and "complete     " not in text
    text = check_data.describe(None, [f"data_root={DATA}"])
    assert "complete     SweetHome3D: 820 of 820 objects" in text
    for name in ("ModelNet40", "ScanObjectNN PB_T50_RS", "ShapeNet", "ShapeNetPart"):
        assert name in text


@pytest.mark.parametrize("override", ["data_root=nowhere", "data_rot=data"])
def test_wrong_data_root_is_refused(override, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="data_root"):
        check_data.describe(None, [override])
