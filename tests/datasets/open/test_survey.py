"""What --check-data says of the open-vocabulary distributions."""

import shutil

from pointrecon.datasets.open.survey import survey_open
from pointrecon.tools import check_data
from pointrecon.tools.open.convert import convert
from tests.datasets.open.layouts import MINI, make_ulip, make_uni3d


def states(root):
    return {one.name: (one.found, one.expected, one.status) for one in survey_open(str(root))}


def test_nothing_is_there(tmp_path):
    found = states(tmp_path)
    assert found["OpenShape"] == (0, 874_402, "not found") and found["Objaverse-LVIS"] == (0, 46_832, "not found")
    assert found["OpenShape's distribution"] == (0, 163, "not found")
    assert {"ULIP-2 triplets", "ULIP-2 test sets", "Uni3D test sets"} < set(found)
    text = check_data.format_surveys(tmp_path, survey_open(str(tmp_path)))
    for wanted in (
        "0 of 163 tar files",
        "185 GB",
        "11 GB",
        "ODC-By 1.0",
        "SFXX/ulip",
        "12.5 GB",
        "117 GB",
        "CC BY-NC 4.0",
    ):
        assert wanted in text, text


def test_what_is_there_is_counted(tmp_path):
    convert(MINI / "objaverse-processed", tmp_path / "openshape" / "shards", shard_size=4)
    shutil.copytree(MINI, tmp_path / "openshape", dirs_exist_ok=True)
    make_uni3d(tmp_path)
    make_ulip(tmp_path / "ulip")
    (tmp_path / "openshape" / "ABO.tar.gz").write_bytes(bytes(1 << 16))
    (tmp_path / "ulip" / "ULIP_Objaverse_Triplets").mkdir()
    (tmp_path / "ulip" / "ULIP_Objaverse_Triplets" / "a").touch()
    found = states(tmp_path)
    assert found["OpenShape"] == (10, 874_402, "incomplete") and found["OpenShape's distribution"][0] == 1
    assert found["ULIP-2 triplets"] == (1, 2, "incomplete") and found["ULIP-2 test sets"] == (4, 164, "incomplete")
    assert found["Uni3D test sets"] == (5, 5, "complete") and found["Objaverse-LVIS"] == (2, 2, "complete")
    next((tmp_path / "openshape" / "shards").glob("*.safetensors")).unlink()
    assert states(tmp_path)["OpenShape"][0] < 10
    (tmp_path / "openshape" / "shards" / "manifest.json").write_text("{}")
    assert "no manifest" in survey_open(str(tmp_path))[0].problem


def test_objects_of_the_list_without_files_are_missing(tmp_path):
    shutil.copytree(MINI, tmp_path / "openshape")
    next(tmp_path.rglob("*abc000.npy")).unlink()
    (lvis,) = (one for one in survey_open(str(tmp_path)) if one.name == "Objaverse-LVIS")
    assert (lvis.found, lvis.expected, lvis.status) == (1, 2, "incomplete")
    next(tmp_path.rglob("*abc002.npy")).unlink()
    (lvis,) = (one for one in survey_open(str(tmp_path)) if one.name == "Objaverse-LVIS")
    assert lvis.found == 0 and "lists 2 objects" in lvis.problem
