"""The course of a run."""

import json

import numpy as np

from pointrecon.tools.visualize import style
from pointrecon.tools.visualize.curves import draw_curves, find_panels, get_series
from pointrecon.tools.visualize.files import read_metrics


def test_panels_are_the_metrics_with_a_course(metrics):
    records = read_metrics(metrics)
    assert find_panels([records]) == ["loss", "chamfer", "accuracy", "lr"]
    assert find_panels([records[-1:]]) == []  # a run that only evaluates
    assert find_panels([records[-1:], records[-1:]]) == []  # one value in each of two runs is no course either


def test_series_keep_their_gaps():
    records = [{"split": "train", "epoch": epoch, "loss": loss} for epoch, loss in ((1, 3.0), (2, None), (3, 1.0))]
    records.append({"split": "val", "epoch": 3, "loss": 9.0})
    epochs, values = get_series(records, "train", "loss")
    assert epochs.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(values, [3.0, np.nan, 1.0])


def test_one_run_is_drawn(metrics, tmp_path, check_picture):
    target = tmp_path / "figures" / "curves.png"
    assert draw_curves({"run": metrics}, target) == [target]
    assert check_picture(target)[0] == 1650


def test_probes_have_curves_and_counts_have_none(metrics, tmp_path, check_picture):
    probes = [{"split": "probe", "epoch": n, "step": 10 * n, "svm_accuracy": 0.1 * n} for n in (2, 4)]
    for probe in probes:
        probe |= {"svm_num_objects": 20, "svm_accuracy_std": 0.1}
    metrics.write_text(metrics.read_text() + "".join(f"{json.dumps(probe)}\n" for probe in probes))
    records = read_metrics(metrics)
    assert find_panels([records]) == ["loss", "chamfer", "accuracy", "svm_accuracy", "lr"]
    assert get_series(records, "probe", "svm_accuracy")[0].tolist() == [2, 4]
    draw_curves({"run": metrics}, tmp_path / "one.png")
    draw_curves({"a": metrics, "b": metrics}, tmp_path / "two.png")
    check_picture(tmp_path / "two.png")


def test_the_title_says_what_run_it_is(metrics, tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(style, "add_title", lambda figure, title, subtitle="": titles.append(title))
    folder = tmp_path / "pretrain" / "quickstart" / "seed0"
    folder.mkdir(parents=True)
    metrics.rename(folder / "metrics.jsonl")
    draw_curves({"run": folder / "metrics.jsonl"}, tmp_path / "x.png")
    (folder / "config.yaml").write_text("data: {type: SweetHome3D}\n")
    draw_curves({"run": folder / "metrics.jsonl"}, tmp_path / "x.png")
    assert titles == ["seed0", "seed0 (quickstart/pretrain, SweetHome3D)"]


def test_several_runs_with_long_names_are_drawn_below_the_title(metrics, tmp_path, check_picture):
    draw_curves({"a": metrics, "b": metrics}, tmp_path / "two.png")
    draw_curves({f"cfgs/quickstart/pretrain/with_a_long_name_{i}": metrics for i in range(8)}, tmp_path / "eight.png")
    assert check_picture(tmp_path / "eight.png")[1] > check_picture(tmp_path / "two.png")[1]


def test_nothing_is_drawn_of_a_run_that_only_evaluates(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"split": "test", "epoch": 0, "step": 0, "accuracy": 0.5}) + "\n")
    assert draw_curves({"run": path}, tmp_path / "curves.png") == []
    assert not (tmp_path / "curves.png").exists()
