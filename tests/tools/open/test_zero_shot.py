"""Scores against plain counting, changes of clouds, and the table's text."""

from pathlib import Path

import numpy as np
import pytest

from pointrecon.datasets.open.zero_shot import ZeroShotSet
from pointrecon.tools.open.changes import AS_STORED, CHANGES, change
from pointrecon.tools.open.table import format_latex, format_markdown
from pointrecon.tools.open.zero_shot import evaluate, rank_of
from pointrecon.utils.errors import InputError

RANDOM = np.random.RandomState(0)
CLOUDS = RANDOM.randn(40, 2000, 3).astype(np.float32)
COLORS = RANDOM.rand(40, 2000, 3).astype(np.float32)
LABELS = np.arange(40) % 6
CLASSES = RANDOM.randn(6, 5).astype(np.float32)


@pytest.fixture
def dataset():
    names = [f"class_{row}" for row in range(6)] + ["empty"]
    return ZeroShotSet(
        "S", Path("s"), [str(i) for i in range(40)], LABELS, names, lambda row: (CLOUDS[row], COLORS[row])
    )


def embed(points, colors, up):
    """Of unit length; another axis gives other numbers."""
    rows = np.stack([np.concatenate([p.mean(0), p.std(0)[:2]]) for p in points]) + 0.1 * (up == "z")
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_scores_are_those_of_counting(dataset):
    classes = np.concatenate([CLASSES, CLASSES.mean(0, keepdims=True)])
    one, two = evaluate(
        embed, dataset, classes * 7, model="m", text="t", conditions=[("y", AS_STORED), ("z", AS_STORED)]
    )
    unit = classes / np.linalg.norm(classes, axis=1, keepdims=True)
    scores = embed(CLOUDS, COLORS, "y") @ unit.T
    order = np.argsort(-scores, axis=1)
    for k in (1, 3, 5):
        assert one.top[k] == pytest.approx(
            np.mean([label in row[:k] for label, row in zip(LABELS, order, strict=True)])
        )
    per_class = [np.mean(order[LABELS == label, 0] == label) for label in range(6)]
    assert one.class_mean == pytest.approx(np.mean(per_class))
    assert one.num_objects == 40 and one.num_classes == 7 and one.interval[0] < one.top[1] < one.interval[1]
    assert (one.up, two.up) == ("y", "z") and one.top != two.top


def test_equal_scores_count_against_the_model():
    labels = np.array([0, 1, 2])
    assert rank_of(np.ones((3, 4)), labels).tolist() == [3, 3, 3]
    assert (rank_of(np.full((3, 4), np.nan), labels) >= 3).all()
    assert rank_of(np.eye(4)[:3], labels).tolist() == [0, 0, 0]


def test_class_features_of_another_width_are_told(dataset):
    with pytest.raises(InputError, match="embeds in 5 dimensions"):
        evaluate(embed, dataset, np.ones((7, 6)), model="m", text="t")


def test_changes_are_what_they_say_and_repeat():
    cloud = CLOUDS[0] * [1, 2, 3], COLORS[0]
    made = {name: change(name, cloud, 3) for name in CHANGES}
    for name in CHANGES:
        np.testing.assert_array_equal(change(name, cloud, 3)[0], made[name][0])
    assert made["no colour"][1] is None and made["no colour"][0] is cloud[0]
    assert len(made["1,024 points"][0]) == len(made["1,024 points"][1]) == 1024
    points, colors = made["half of the cloud"]
    assert len(points) == len(colors) == 1000
    middle = cloud[0].mean(0)
    normal = points.mean(0) - middle
    kept = {tuple(row) for row in points.tolist()}
    others = np.array([row for row in cloud[0].tolist() if tuple(row) not in kept])
    assert (points - middle).mean(0) @ normal > 0 > (others - middle).mean(0) @ normal
    moved = np.linalg.norm(made["noise .01"][0] - cloud[0], axis=1) / np.linalg.norm(cloud[0] - middle, axis=1).max()
    assert moved.mean() == pytest.approx(0.016, abs=0.003)  # the mean length of three such normal numbers
    turned = made["any rotation"][0]
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(cloud[0], axis=1), rtol=1e-4)
    turn = np.linalg.lstsq(cloud[0], turned, rcond=None)[0]
    assert np.linalg.det(turn) == pytest.approx(1, abs=1e-4) and np.abs(turn - np.eye(3)).max() > 0.1
    assert np.abs(change("any rotation", cloud, 4)[0] - turned).max() > 0.1


def test_the_table(dataset):
    conditions = [("y", AS_STORED), ("z", AS_STORED), ("y", "no colour")]
    scores = evaluate(embed, dataset, RANDOM.randn(7, 5), model="my_model", text="as stored", conditions=conditions)
    text = format_markdown(scores)
    head, _, first, second, *_ = text.splitlines()
    assert head.endswith("| class mean | no colour |") and first.startswith("| my_model | S | y | 40 | 7 | ")
    assert second.startswith("| my_model | S | z |") and second.endswith("|  |")
    assert f"{100 * scores[0].top[1]:.1f}" in first and "class features as stored" in text and "Wilson" in text
    latex = format_latex(scores)
    assert r"my\_model & S & y & 40" in latex and r"95 \%" in latex and latex.count(r"\\") == 3
