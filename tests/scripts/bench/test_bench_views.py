"""The measurement of the number of views: which runs there are, and its table."""

import json

import pytest
from bench_parts import bench_views
from bench_parts.bench_views import LIVE, Cell, ViewsBench, format_table, summarize, write_report

from pointrecon.tools.sweeps.execute import Outcome
from pointrecon.tools.sweeps.plan import check_plan
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import write_json


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A measurement whose runs leave what runs leave, without being done."""

    def run_all(runs, options):
        for run in runs:
            folder, seed = run.folder(), run.configure().seed
            folder.mkdir(parents=True, exist_ok=True)
            write_json({"svm_accuracy": 0.5 + seed / 10, "zero_shot_accuracy": 0.25}, folder / "result.json")
            records = [{"split": "train", "shapes_per_second": rate} for rate in (1, 90 + seed, 100 + seed)]
            lines = [json.dumps(record) for record in [*records, {"split": "test"}]]
            (folder / "metrics.jsonl").write_text("\n".join(lines))
        return Outcome([run.name for run in runs])

    monkeypatch.setattr(bench_views, "run_all", run_all)
    monkeypatch.setattr(ViewsBench, "make_cache", lambda self, arguments: None)
    return ViewsBench(["1", "4", LIVE], [0, 2], ["epochs=3", "model.depth=2"], tmp_path)


def test_each_cell_is_pretrained_and_measured(bench, tmp_path):
    records = bench.run()
    assert [(record["views"], record["seed"]) for record in records] == [
        (views, seed) for views in ("1", "4", "live") for seed in (0, 2)
    ]
    assert records[1] == {
        "views": "1", "seed": 2, "svm_accuracy": 0.7, "zero_shot_accuracy": 0.25, "shapes_per_second": 97
    }  # fmt: skip
    runs = bench.list_runs()
    check_plan(runs)
    assert len(runs) == 6 * 3 and bench.cache == tmp_path / "teachers-4.h5"
    by_name = {run.name: run for run in runs}
    for cell in bench.cells:
        pretrain, *probes = (by_name[f"{config} {cell.name}"] for config in ("pretrain", "svm", "zeroshot"))
        cfg = pretrain.configure()
        assert (cfg.epochs, cfg.model.depth, cfg.seed) == (3, 2, cell.seed)
        assert cfg.teachers.text.path == str(bench.cache)
        is_live = cell.views == LIVE
        assert cfg.teachers.image.num_views == (None if is_live else int(cell.views))
        assert cfg.teachers.image.cached is not is_live and ("Timm" in cfg.teachers.image.type) is is_live
        for probe in probes:
            assert probe.after == (pretrain.name,) and probe.configure().epochs == 0
            assert probe.configure().init == str(pretrain.folder() / "ckpt-last.pth")
            assert probe.configure().model.depth == 2


def test_report_and_table(bench, tmp_path):
    records = bench.run()
    write_report(tmp_path / "views.json", records, bench, ["bench_views.py", "--jobs", "2"])
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


def test_a_cache_that_cannot_be_made_ends_the_measurement(tmp_path):
    work = ViewsBench(["1"], [0], [], tmp_path)
    with pytest.raises(InputError, match="'cache_teacher_features.py' ended with exit code 2"):
        work.make_cache(["--data", "Nothing"])
    assert Cell("1", 0).name == "views-1-seed0"
