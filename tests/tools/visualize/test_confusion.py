"""The confusion matrix."""

import numpy as np
import pytest

from pointrecon.tools.visualize.confusion import count_confusions, draw_confusion, summarize
from pointrecon.utils.errors import InputError


def test_counts_and_accuracies():
    labels, predictions = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 0])
    counts = count_confusions(labels, predictions, num_classes=4)
    assert counts.tolist() == [[2, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    overall, mean_class = summarize(counts)
    assert overall == pytest.approx(4 / 6)
    assert mean_class == pytest.approx((2 / 3 + 1 + 0) / 3)  # the class without an object does not count


def test_a_picture_is_drawn(predictions, tmp_path, check_picture):
    assert draw_confusion(predictions, tmp_path / "confusion.png") == [tmp_path / "confusion.png"]
    check_picture(tmp_path / "confusion.png")


def test_forty_classes_fit(tmp_path, check_picture):
    labels = np.arange(80) % 40
    names = [f"class_number_{index}" for index in range(40)]
    source = tmp_path / "predictions-zero_shot.npz"
    np.savez(source, labels=labels, predictions=np.roll(labels, 3), class_names=names)
    draw_confusion(source, tmp_path / "x.png")
    assert check_picture(tmp_path / "x.png")[0] >= 1400


def test_a_prediction_without_a_class_is_refused(tmp_path):
    np.savez(tmp_path / "predictions.npz", labels=[0, 1], predictions=[0, 5], class_names=["a", "b"])
    with pytest.raises(InputError, match="predictions.npz': predictions must be whole numbers from 0 to 1"):
        draw_confusion(tmp_path / "predictions.npz", tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()
