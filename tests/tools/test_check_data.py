"""What --check-data says."""

from pathlib import Path

import pytest

from pointrecon.datasets import DATASETS
from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.survey import THERE, Entry, Survey, count_files, faults_of, look_at
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
    assert blocks[1].startswith("complete     Whole: 10 of 10 objects") and "why" not in blocks[1]
    assert blocks[2].startswith("incomplete   Part: 4 of 10") and "why:     'x.h5' is truncated\n" in blocks[2]
    assert blocks[3].startswith("not found    Away: 0 of 10") and "no 'y.h5'" in blocks[3]
    assert all("https://example.org/shapes" in block and "for research" in block for block in blocks[1:4])


def test_the_whole_tree_is_shown_and_why_it_is_incomplete(tmp_path):
    (tmp_path / "list.txt").write_text("a b c")
    faults = faults_of([f"{row}.txt" for row in range(40)], {f"{row}.txt": 5 for row in range(10)} | {"3.txt": 1}, 2)
    tree = [
        look_at(tmp_path, "list.txt"),
        look_at(tmp_path, "list.txt", 100),
        look_at(tmp_path, "points.h5", note="2,309 objects"),
        look_at(tmp_path, "teachers.h5", is_needed=False),
        count_files("<class>/<object>.txt", 40, faults),
        count_files("views/<id>.png", 3, ["a", "b", "c"]),
        Entry("packed.h5", THERE),
    ]
    text = check_data.format_surveys("data", [Survey("Part", tmp_path, 9, 40, "'x' is bad", "here", "free", tree)])
    lines = [line.strip() for line in text.splitlines()]
    for wanted in (
        "there    list.txt (5 bytes)",
        "wrong    list.txt (5 bytes, at least 100 are needed)",
        "missing  points.h5 (2,309 objects)",
        "missing  teachers.h5, not needed",
        "wrong    <class>/<object>.txt (9 of 40 files)",
        "3.txt has only 1 bytes",
        "10.txt is missing",
        "and 11 more",
        "missing  views/<id>.png (0 of 3 files)",
        "there    packed.h5",
        "why:     'x' is bad",
        "points.h5 is missing (2,309 objects)",
        "31 of the 40 published objects are not there",
    ):
        assert wanted in lines, (wanted, text)
    assert "teachers.h5 is" not in text and "39.txt" not in text and "\na\n" not in text


def test_every_data_set_that_can_tell_is_asked(monkeypatch):
    class Many(PointCloudDataset):
        @staticmethod
        def survey(root):
            return [entry(f"{root} A", 1), entry(f"{root} B", 2)]

    classes = {"Many": Many, "Same": Many, "Silent": PointCloudDataset, "Function": print}
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
