"""Run folders: what is found, what belongs together, and what is broken."""

import pytest
import yaml

from pointrecon.tools.report.overview import find_differences
from pointrecon.tools.report.runs import find_runs, group_runs, shares
from pointrecon.utils.errors import InputError


def test_runs_are_found_inside_a_folder_and_seeds_belong_together(runs):
    found = find_runs([runs])
    assert [run.name for run in found] == ["pretrain", "tune-seed0", "tune-seed1"]
    groups = group_runs(found)
    assert {name: [run.seed for run in members] for name, members in groups.items()} == {
        "pretrain": [0],
        "tune": [0, 1],
    }
    assert found[1].epochs == (2, 2) and "accuracy" in shares(found[1].result)


def test_another_setting_is_another_group(runs):
    path = runs / "tune-seed1" / "config.yaml"
    path.write_text(path.read_text().replace("batch_size: 8", "batch_size: 4"))
    found = find_runs([runs / "tune-seed0", runs / "tune-seed1"])
    assert list(group_runs(found)) == ["tune-seed0", "tune-seed1"]
    assert find_differences(found) == {"batch_size": [8, 4], "seed": [0, 1]}


def test_folds_belong_together_in_tables_only(runs):
    for seed in (0, 1):
        path = runs / f"tune-seed{seed}" / "config.yaml"
        tree = yaml.safe_load(path.read_text())
        tree["data"]["fold"] = seed
        path.write_text(yaml.safe_dump(tree))
    found = find_runs([runs / "tune-seed0", runs / "tune-seed1"])
    assert len(group_runs(found)) == 2 and len(group_runs(found, across_folds=True)) == 1


@pytest.mark.parametrize(
    ("name", "content"), [("config.yaml", "a: [b"), ("config.yaml", "- 1"), ("metrics.jsonl", "{}\n{}\n"),
                          ("result.json", "[")]
)  # fmt: skip
def test_what_is_broken_becomes_a_note(runs, name, content):
    (runs / "tune-seed0" / name).write_text(content)
    (run,) = find_runs([runs / "tune-seed0"])
    assert len(run.notes) == 1 and name in run.notes[0]


def test_places_without_runs_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        find_runs([tmp_path / "none"])
    with pytest.raises(InputError, match="holds no run"):
        find_runs([tmp_path])
