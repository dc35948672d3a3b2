"""The quickstart's table from result files."""

import json

import pytest

from pointrecon.tools.sweeps.plan import check_plan
from pointrecon.tools.sweeps.quickstart import (
    NUMBERS,
    collect_quickstart,
    folder_of,
    format_median,
    format_table,
    gather_pictures,
    list_runs,
)
from pointrecon.utils.errors import InputError


@pytest.fixture
def root(tmp_path):
    """Finished runs whose accuracies are all different."""
    values = {}
    for number, (name, (run, metric)) in enumerate(NUMBERS.items()):
        folder = folder_of(tmp_path, run, 3)
        values.setdefault(folder, {"select": "last", "num_objects": 109, "mean_class_accuracy": 0.5, "seconds": 1.0})
        values[folder] |= {metric: 0.1 + number / 100, "zero_shot_num_classes": 20}
        assert name
    for folder, content in values.items():
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(content))
    folder = tmp_path / "pretrain" / "quickstart" / "pretrain-seed3"
    folder.mkdir(parents=True)
    lines = [{"split": "train", "loss": 8.0}, {"split": "train", "loss": 2.0}, {"split": "test", "loss": 9.0}]
    (folder / "metrics.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return tmp_path


def test_numbers_come_from_their_runs(root):
    summary = collect_quickstart(root, seed=3, seconds=100.0)
    assert [summary[name] for name in NUMBERS] == [pytest.approx(0.1 + i / 100) for i in range(len(NUMBERS))]
    assert summary["chance"] == 0.05 and summary["seconds"] == 100.0 and summary["seed"] == 3
    assert (summary["pretrain_loss_first"], summary["pretrain_loss_last"]) == (8.0, 2.0)
    wanted = "chance pretrain_loss_first pretrain_loss_last zero_shot_accuracy linear_accuracy svm_accuracy "
    wanted += "finetune_accuracy scratch_accuracy seconds svm_random_accuracy svm_accuracy_5shot scratch_accuracy_5shot"
    assert set(wanted.split()) <= summary.keys()
    table = format_table(summary)
    assert f"{summary['svm_accuracy_5shot']:.3f}" in table
    gain = summary["finetune_accuracy"] - summary["scratch_accuracy"]
    assert f"fine-tuned minus from scratch, all labels: {gain:+.3f}" in table
    low, high = summary["intervals"]["svm_accuracy"]
    assert low < summary["svm_accuracy"] < high < low + 0.2
    assert f"{summary['svm_accuracy']:.3f} ({low:.2f} to {high:.2f})" in table


def test_pictures_are_gathered(root):
    source = root / "svm" / "quickstart" / "svm-seed3" / "figures" / "tsne.png"
    source.parent.mkdir()
    source.write_bytes(b"picture")
    summary = collect_quickstart(root, seed=3, seconds=1.0)
    pictures = gather_pictures(root, 3, root / "out", summary)
    assert [path.name for path in pictures] == ["results.png", "tsne.png"]
    assert all(path.is_file() for path in pictures)


def test_a_missing_run_is_named(root):
    with pytest.raises(InputError, match="pretrain-seed4|seed4"):
        collect_quickstart(root, seed=4, seconds=1.0)


def test_the_runs(tmp_path):
    runs = list_runs(3, ["epochs=1"], tmp_path, 1)
    check_plan(list(runs.values()))
    assert len(runs) == 12 and runs["pretrain"].num_threads == 0 and not runs["pretrain"].after
    start = str(folder_of(tmp_path, "pretrain", 3) / "ckpt-last.pth")
    for name, run in runs.items():
        cfg = run.configure()
        assert run.folder() == folder_of(tmp_path, name, 3) and cfg.seed == 3
        is_pretrained = name != "pretrain" and "random" not in name and "scratch" not in name
        assert cfg.init == (start if is_pretrained else None)
        assert cfg.epochs == (1 if cfg.task != "evaluate" else 0)
        assert cfg.data.shots == (5 if name.endswith("5shot") else None)
        assert name == "pretrain" or run.after == ("pretrain",)


def test_median_and_range(root):
    summary = collect_quickstart(root, seed=3, seconds=100.0)
    paths = [root / "a.json", root / "b.json"]
    paths[0].write_text(json.dumps(summary))
    paths[1].write_text(json.dumps({**summary, "svm_accuracy": 0.9}))
    low = summary["svm_accuracy"]
    assert f"| {(low + 0.9) / 2:.3f} ({low:.3f} to 0.900) |" in format_median(paths)
    paths[1].write_text("{}")
    with pytest.raises(InputError, match="a file lacks 'zero_shot_accuracy'"):
        format_median(paths)
