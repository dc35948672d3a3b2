"""Contrast of two augmentations of a shape: what is in a batch, and that it trains."""

import json

import torch

from pointrecon.tools.tasks.pretrain import PretrainTask

SHAPES = ["loss.contrast.weight=1", "loss.contrast.positives=shape", "data.augment.rotate_y=90"]


def test_each_shape_is_there_twice(launch, monkeypatch):
    seen = []
    compute = PretrainTask.compute_loss

    def look(self, points, labels, *targets):
        seen.append((points, labels, targets))
        return compute(self, points, labels, *targets)

    monkeypatch.setattr(PretrainTask, "compute_loss", look)
    code, folder = launch("epochs=1", *SHAPES)
    assert code == 0
    points, labels, targets = seen[0]
    assert len(points) == 16 and labels.tolist() == [*range(8), *range(8)]
    one, other = points.split(8)
    assert not torch.allclose(one, other)  # another augmentation and other points of the same clouds
    torch.testing.assert_close(one.norm(dim=-1).mean(dim=1), other.norm(dim=-1).mean(dim=1), rtol=0.3, atol=0.1)
    assert all(torch.equal(*target.split(8)) for target in targets) and len(targets) == 2
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert records[0]["self"] > 0


def test_alone_it_learns_to_tell_shapes_apart(launch):
    code, folder = launch("epochs=24", *SHAPES, "teachers.image=null", "teachers.text=null", "model.stop_grad=false")
    assert code == 0
    values = [
        json.loads(line)["self"] for line in (folder / "metrics.jsonl").read_text().splitlines() if "self" in line
    ]
    assert len(values) == 24 and sum(values[-5:]) < 0.8 * sum(values[:5])  # one epoch of twelve shapes says little


def test_without_weight_nothing_is_doubled(launch, monkeypatch):
    sizes = []
    compute = PretrainTask.compute_loss
    monkeypatch.setattr(
        PretrainTask,
        "compute_loss",
        lambda self, points, *rest: sizes.append(len(points)) or compute(self, points, *rest),
    )
    code, _ = launch("epochs=1", "loss.contrast.positives=shape")
    assert code == 0 and set(sizes) <= {8, 4}
