"""The bars of the quickstart."""

import pytest

from pointrecon.tools.visualize import results
from pointrecon.tools.visualize.results import Bar, draw_comparison, draw_results, find_bars
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import write_json

ROW = {
    "chance": 0.05,
    "pretrain_loss_first": 3.2,
    "zero_shot_accuracy": 0.5,
    "svm_accuracy": 0.76,
    "svm_random_accuracy": 0.68,
    "linear_accuracy": None,
    "finetune_accuracy": 0.83,
    "scratch_accuracy": 0.8,
    "svm_accuracy_5shot": 0.6,
    "scratch_accuracy_5shot": 0.5,
}


def test_bars_pair_pretrained_with_its_baseline():
    assert find_bars([ROW], "") == [
        Bar("zero-shot (no labels)", (0.5,), ()),
        Bar("SVM on frozen features", (0.76,), (0.68,)),
        Bar("whole network trained", (0.83,), (0.8,)),
    ]
    assert find_bars([ROW, ROW | {"svm_accuracy_5shot": 0.7}], "_5shot") == [
        Bar("SVM on frozen features", (0.6, 0.7), ()),
        Bar("whole network trained", (), (0.5, 0.5)),
    ]


def test_a_picture_is_drawn_from_one_dict_and_from_seeds(tmp_path, check_picture):
    draw_comparison(ROW, tmp_path / "one.png")
    draw_comparison([ROW, ROW | {"svm_accuracy": 0.7}], tmp_path / "two.png")
    write_json(ROW, tmp_path / "quickstart.json")
    draw_results(tmp_path / "quickstart.json", tmp_path / "file.png")
    assert check_picture(tmp_path / "one.png") == check_picture(tmp_path / "two.png")
    assert (tmp_path / "file.png").read_bytes() == (tmp_path / "one.png").read_bytes()
    assert (tmp_path / "two.png").read_bytes() != (tmp_path / "one.png").read_bytes()


def test_bars_have_intervals_where_the_number_of_objects_is_known(tmp_path, monkeypatch, check_picture):
    asked = []
    monkeypatch.setattr(results, "wilson", lambda share, count: asked.append((share, count)) or (share, share))
    draw_comparison(ROW, tmp_path / "without.png")
    assert not asked
    draw_comparison(ROW | {"num_test_objects": 109}, tmp_path / "with.png")
    assert (0.76, 109) in asked and (0.68, 109) in asked and (0.5, 109) in asked
    asked.clear()
    draw_comparison([ROW | {"num_test_objects": count} for count in (109, 110)], tmp_path / "mixed.png")
    assert not asked
    check_picture(tmp_path / "with.png")


def test_wrong_numbers_are_refused(tmp_path):
    with pytest.raises(InputError, match="no accuracy to draw for '.*x.png'; expected some of: zero_shot_accuracy"):
        draw_comparison({"chance": 0.05}, tmp_path / "x.png")
    with pytest.raises(InputError, match="'svm_accuracy' is 76, but an accuracy must be a number from 0 to 1"):
        draw_comparison(ROW | {"svm_accuracy": 76}, tmp_path / "x.png")
    write_json([ROW], tmp_path / "quickstart.json")
    with pytest.raises(InputError, match="quickstart.json' holds a list"):
        draw_results(tmp_path / "quickstart.json", tmp_path / "x.png")
