"""The measurement of the number of views: which runs it starts, that it goes on, and its table."""

import json

import pytest

from pointrecon.tools.bench_views import LIVE, Cell, ViewsBench, format_table, summarize, write_report
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import write_json


class Recorded(ViewsBench):
    """Notes the commands instead of running them, and leaves what runs leave."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.commands = []

    def _start(self, command):
        self.commands.append(command)
        if "--exp_name" in command:
            config = command[command.index("--config") + 1].split("/")[-1].removesuffix(".yaml")
            folder = self.out / config / "quickstart" / command[command.index("--exp_name") + 1]
            folder.mkdir(parents=True)
            seed = int(command[command.index("--seed") + 1])
            write_json({"svm_accuracy": 0.5 + seed / 10, "zero_shot_accuracy": 0.25}, folder / "result.json")
            records = [{"split": "train", "shapes_per_second": rate} for rate in (1, 90 + seed, 100 + seed)]
            lines = [json.dumps(record) for record in [*records, {"split": "test"}]]
            (folder / "metrics.jsonl").write_text("\n".join(lines))


def bench(tmp_path, views=("1", "4", LIVE), seeds=(0, 2)):
    return Recorded(views, seeds, ["epochs=3", "model.depth=2"], tmp_path)


def test_each_cell_is_pretrained_and_measured(tmp_path):
    work = bench(tmp_path)
    records = work.run()
    assert [(record["views"], record["seed"]) for record in records] == [
        (views, seed) for views in ("1", "4", "live") for seed in (0, 2)
    ]
    assert records[1] == {
        "views": "1", "seed": 2, "svm_accuracy": 0.7, "zero_shot_accuracy": 0.25, "shapes_per_second": 97
    }  # fmt: skip
    cache, *runs = [" ".join(command) for command in work.commands]
    assert "cache_teacher_features.py" in cache and "--views 4" in cache
    assert len(runs) == 6 * 3
    pretrain = [command for command in runs if "/pretrain.yaml" in command]
    assert all("epochs=3" in command for command in pretrain) and "teachers.image.num_views=4" in pretrain[2]
    assert "teachers.image.cached=false" in pretrain[4] and "efficientnet" in pretrain[4]
    assert all(f"teachers.text.path={tmp_path / 'teachers-4.h5'}" in command for command in runs)
    probes = [command for command in runs if command not in pretrain]
    assert all("epochs=3" not in command and "model.depth=2" in command for command in probes)
    assert all("views-" in command and "ckpt-last.pth" in command for command in probes)


def test_finished_runs_are_kept(tmp_path):
    first = bench(tmp_path)
    first.run()
    (tmp_path / "svm" / "quickstart" / "views-4-seed2" / "result.json").unlink()
    (tmp_path / "svm" / "quickstart" / "views-4-seed2" / "metrics.jsonl").unlink()
    (tmp_path / "svm" / "quickstart" / "views-4-seed2").rmdir()
    again = bench(tmp_path)
    assert again.run(num_jobs=2) == bench(tmp_path).run()
    assert len(again.commands) == 2 and "/svm.yaml" in " ".join(again.commands[1])


def test_report_and_table(tmp_path):
    work = bench(tmp_path)
    records = work.run()
    write_report(tmp_path / "views.json", records, work, ["bench_views.py", "--jobs", "2"])
    content = json.loads((tmp_path / "views.json").read_text())
    assert content["environment"]["command"] == ["bench_views.py", "--jobs", "2"] and content["environment"]["time"]
    assert len(content["runs"]) == 6 and content["overrides"] == ["epochs=3", "model.depth=2"]
    lines = format_table(summarize(records), 2).splitlines()
    assert lines[2] == "| 1 | 0.600 (0.500 to 0.700) | 0.250 (0.250 to 0.250) | 96 (95 to 97) |"
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["1", "4", "live"]
    assert len({line.count("|") for line in lines}) == 1


@pytest.mark.parametrize("views", [["0"], ["two"], ["-1"], ["2", "2"]])
def test_other_numbers_of_views_are_refused(tmp_path, views):
    with pytest.raises(InputError, match="--views|twice"):
        ViewsBench(views, [0], [], tmp_path)


def test_a_failed_run_ends_the_measurement(tmp_path):
    work = ViewsBench(["1"], [0], [], tmp_path)
    with pytest.raises(InputError, match="ended with exit code 2.*finished runs are kept"):
        work._start(["python3", "-c", "raise SystemExit(2)"])
    assert Cell("1", 0).name == "views-1-seed0"
