"""A teacher of another modality: one module outside the package and one config, and nothing else."""

import json
import re

import pytest
import torch
import yaml

from pointrecon.tools.checkpoints.pretrained import load_pretrained

MODULE = '''
import torch
from pointrecon.models.teachers.base import FrozenTeacher


class DepthTeacher(FrozenTeacher):
    """A coarse depth map of each side of a shape: of three, the last one is missing where a shape is wide."""

    def __init__(self, cells=2):
        super().__init__(torch.nn.Identity(), dim=cells * cells)
        self.cells = cells

    def forward_samples(self, batch):
        points, maps = batch["points"], []
        for axis in range(3):
            seen = points[..., [i for i in range(3) if i != axis]]
            cell = ((seen + 1) / 2 * self.cells).long().clamp(0, self.cells - 1)
            depth = torch.full((len(points), self.cells**2), -2.0)
            maps.append(depth.scatter_reduce(1, cell[..., 0] * self.cells + cell[..., 1], points[..., axis], "amax"))
        maps = torch.stack(maps, dim=1)
        maps[points[..., 0].std(dim=1) > 0.6, 2] = 0
        return maps


def squared(*, student, teacher, mask):
    return ((student - teacher).square().mean(dim=-1) * mask).sum() / mask.sum()
'''
CONFIG = {
    "teachers": {"text": None, "depth": {"type": "depth_of_shapes:DepthTeacher", "options": {"cells": 3}}},
    "model": {"queries": {"depth": 3}},
    "loss": {"depth": {"weight": 2.0, "type": "smooth_l1"}},
}


@pytest.fixture
def run(launch, tmp_path, monkeypatch):
    """Runs main.py with the two files that a third modality takes; `changes` are for the section of the teacher."""
    (tmp_path / "depth_of_shapes.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "cfgs" / "tiny.yaml"
    base = yaml.safe_load(path.read_text())
    cache = {"path": str(tmp_path / "depth.h5")}

    def start(*overrides, **changes):
        depth = {**CONFIG["teachers"]["depth"], **cache, **changes}
        teachers = {**CONFIG["teachers"], "depth": depth}
        model = {**base["model"], **CONFIG["model"]}
        path.write_text(yaml.dump({**base, **CONFIG, "teachers": teachers, "model": model}))
        return launch(*overrides)

    return start


def records(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["split"] == "train"]


@pytest.mark.parametrize("cached", [True, False])
def test_its_loss_falls(run, tmp_path, cached):
    code, folder = run("epochs=2", cached=cached)
    assert code == 0 and (tmp_path / "depth.h5").is_file() is cached
    first, second = records(folder)
    assert {"chamfer", "image", "depth"} <= first.keys() and "text" not in first
    assert 0 < second["depth"] < first["depth"]


def test_a_cache_holds_what_the_live_teacher_says(run):
    losses = []
    for cached in (True, False):
        code, folder = run("--overwrite", "epochs=1", cached=cached)
        assert code == 0
        losses.append(records(folder)[0]["depth"])
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)  # a cache is in half precision


def test_a_loss_from_outside(run):
    code, folder = run("epochs=2", "loss.depth.type=depth_of_shapes:squared", center=True)
    first, second = records(folder)
    assert code == 0 and second["depth"] < first["depth"]


def test_its_checkpoint_carries_on(run, launch):
    code, folder = run("epochs=1")
    network, info = load_pretrained(folder / "ckpt-last.pth")
    queries, _ = network.encoder.embed(torch.randn(2, 48, 3))
    assert queries.shape == (2, 6, 24) and network.project(queries)["depth"].shape == (2, 3, 9)
    assert dict(info.config["model"]["queries"]) == {"cls": 1, "image": 1, "text": 1, "depth": 3}
    start = ("--ckpts", folder / "ckpt-last.pth", "epochs=1")
    code, folder = launch("task=classify", *start, name="classifier")
    assert code == 0
    head = torch.load(folder / "ckpt-last.pth", weights_only=True)["base_model"]["head.0.weight"]
    assert head.shape[1] == 5 * 24  # a vector for each of the four names, and one of the patches


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.queries.depth=0", "no such query .*give model.queries.depth=1"),
        ("loss.depth.type=mse", "loss.depth.type"),
        ("teachers.depth.type=depth_of_shapes:Deep", "depth_of_shapes:Deep"),
        ("teachers.depth.type=SentenceTeacher", "teachers.depth: teacher 'SentenceTeacher' takes no option 'cells'"),
    ],
)
def test_mistakes(run, capsys, override, message):
    code, folder = run(override)
    assert code == 2 and not folder.exists()
    assert re.search(message, capsys.readouterr().err)
