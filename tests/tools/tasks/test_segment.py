"""Part segmentation through main.py, on a data set of two categories whose parts lie above each other."""

import json
import logging
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pointrecon.datasets import DATASETS
from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.models.published.segmenter import to_published_segmenter
from pointrecon.tools.build import build_segmenter
from pointrecon.tools.tasks import segment
from pointrecon.tools.tasks.segment import SegmentTask
from pointrecon.tools.training import runner
from pointrecon.tools.training.optim import parameter_groups
from pointrecon.utils.config import load_config
from pointrecon.utils.errors import InputError
from pointrecon.utils.processes import distributed
from tests import ROOT

CFGS = ROOT / "cfgs"
asked_for = []  # how the data sets were told to draw their points
NUM_OBJECTS = {"train": 24, "val": 6, "test": 7}
OPTIONS = ("task=segment", "data.type=FakeParts", "optim.head_lr_scale=2")


@DATASETS.register()
class FakeParts(PointCloudDataset):
    """Boxes of 64 points: part 0 or 1 below and above the middle, for the other category parts 2 or 3."""

    parts_of_class = [[0, 1], [2, 3], [4]]
    is_uniform = True

    def __init__(self, root, split="train", val_fraction=0.0, resample="fixed"):
        asked_for.append(resample)
        count, draw = NUM_OBJECTS[split], torch.Generator().manual_seed(sorted(NUM_OBJECTS).index(split))
        self.points = 2 * torch.rand(count, 64, 3, generator=draw) - 1
        ids = [f"{split}{row}" for row in range(count)]
        super().__init__(ids=ids, labels=torch.arange(count) % 2, class_names=["crate", "shelf", "unused"])

    def read(self, row):
        points, label = self.points[row], int(self.labels[row])
        return {**self.sample(row, points), "part": above(points) + 2 * label}


class Oracle(nn.Module):
    """Is right about every point that has kept its label, and likes a part of another category even better."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(1, 1)

    def forward(self, points, labels):
        scores = nn.functional.one_hot(above(points) + 2 * labels[:, None], 5).float()
        return scores + torch.tensor([0.0, 0, 0, 0, 9])


def above(points):
    """(..., 3) -> (...) int64: 1 above the middle."""
    return (points[..., 1] > 0).long()


def result(folder, name="result.json"):
    return json.loads((folder / name).read_text())


def weights(folder):
    return torch.load(folder / "ckpt-last.pth", weights_only=True)["base_model"]


def test_it_learns_and_leaves_what_is_documented(launch):
    code, folder = launch(*OPTIONS, "epochs=12", "optim.lr=0.005")
    assert code == 0
    found, table = result(folder), result(folder, "part_iou.json")
    assert found["instance_miou"] > 0.6 and found["point_accuracy"] > 0.75  # chance: 0.33 and 0.5
    assert found["num_objects"] == 7 and found["train_point_accuracy"] > 0.75
    assert table["objects"].keys() == {f"test{row}" for row in range(7)}
    assert sum(table["objects"].values()) / 7 == pytest.approx(found["instance_miou"])
    ious = {name: category["iou"] for name, category in table["categories"].items()}
    assert ious.keys() == {"crate", "shelf"} and sum(ious.values()) / 2 == pytest.approx(found["class_miou"])
    assert [category["num_objects"] for category in table["categories"].values()] == [4, 3]
    assert f"crate                 {ious['crate']:.4f}" in (folder / "log.txt").read_text()

    code, again = launch(*OPTIONS, "epochs=0", "--ckpts", folder / "ckpt-last.pth", name="again")
    assert code == 0 and result(again, "part_iou.json") == table
    published = folder / "best_model.pth"
    torch.save({"model_state_dict": to_published_segmenter(weights(folder))}, published)
    code, again = launch(*OPTIONS, "epochs=0", "--ckpts", published, name="published")
    assert code == 0 and result(again, "part_iou.json") == table


def test_a_killed_run_resumes_to_the_same_weights(launch, monkeypatch):
    class Killed(BaseException):
        pass

    options = (*OPTIONS, "epochs=2", "save_every=2")
    _, whole = launch(*options, name="whole")
    original = runner.Runner.train_step

    def train_step(self, *arguments):
        if self.state.step == 3:
            raise Killed
        original(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(runner.Runner, "train_step", train_step)
        launch(*options, name="killed")
    code, killed = launch(*options, "--resume", name="killed")
    assert code == 0
    wanted, found = weights(whole), weights(killed)
    assert wanted.keys() == found.keys()
    for key, value in wanted.items():
        assert torch.equal(value, found[key]), key


def test_a_pretrained_encoder_is_taken_over(launch):
    _, pretrained = launch("epochs=1", name="pretrained")
    standing = ("optim.lr=0", "optim.warmup_lr=0", "optim.min_lr=0")
    code, folder = launch(*OPTIONS, *standing, "epochs=1", "--ckpts", pretrained / "ckpt-last.pth")
    before, after = weights(pretrained), weights(folder)
    assert code == 0 and "head (36)" in (folder / "log.txt").read_text()
    assert torch.equal(before["encoder.blocks.1.mlp.fc1.weight"], after["encoder.blocks.1.mlp.fc1.weight"])


def test_a_network_without_a_head_is_not_tested(launch, capsys):
    _, pretrained = launch("epochs=1", name="pretrained")
    code, folder = launch(*OPTIONS, "epochs=0", "--ckpts", pretrained / "ckpt-last.pth", name="tested")
    assert code == 2 and "it lacks head (36)" in capsys.readouterr().err and not folder.exists()


@pytest.mark.gpu
def test_recorded_steps_are_plain_steps(launch):
    losses = []
    for name in ("true", "false"):
        code, folder = launch(*OPTIONS, "device=cuda", "epochs=3", f"cuda_graph={name}", name=name)
        assert code == 0
        records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        losses.append([record["loss"] for record in records if record["split"] == "train"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3) and len(losses[0]) == 3


def test_the_published_training_steps_twice_a_batch(launch):
    steps = {}
    for protocol in ("sound", "published"):
        code, folder = launch(*OPTIONS, "epochs=1", "data.drop_last=true", f"protocol={protocol}", name=protocol)
        content = torch.load(folder / "ckpt-last.pth", weights_only=True)
        steps[protocol] = [content["step"], *{state["step"].item() for state in content["optimizer"]["state"].values()}]
        assert code == 0
    batches = steps["sound"][0]
    assert steps == {"sound": [batches, batches], "published": [2 * batches, 4 * batches]}  # and an epoch more


@pytest.mark.parametrize("options", [[], ["num_votes=2"], ["protocol=published"], ["data.num_points=40"]], ids=str)
def test_every_point_keeps_its_label(launch, monkeypatch, options):
    monkeypatch.setattr(segment, "build_segmenter", lambda *_: Oracle())
    asked_for.clear()
    moves = ("data.normalize=false", "data.augment={rotate_y: 180, scale: [0.5, 2], flip_x: 0.5}")
    code, folder = launch(*OPTIONS, "epochs=0", *moves, *options)
    found = result(folder)
    assert code == 0 and found["point_accuracy"] == found["instance_miou"] == found["class_miou"] == 1
    assert set(asked_for) == {"random" if "protocol=published" in options else "fixed"}
    assert found.get("num_votes", 0) == (2 if "num_votes=2" in options else 0)


def test_selection_on_validation_objects(launch):
    code, folder = launch(*OPTIONS, "epochs=2", "select=val")
    validated = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines() if '"val"' in line]
    assert code == 0 and [record["num_objects"] for record in validated] == [6, 6]
    assert result(folder)["num_objects"] == 7 and (folder / "ckpt-best.pth").is_file()


def make_task(tmp_path, rank=0, world_size=1):
    torch.manual_seed(0)
    changes = [*OPTIONS, "epochs=0", "data.num_points=48", "model.num_groups=8", "model.group_size=4"]
    cfg = load_config(CFGS / "quickstart" / "small.yaml", changes)
    ctx = SimpleNamespace(device=torch.device("cpu"), rank=rank, world_size=world_size, batch_size=2, is_main=rank == 0)
    ctx.folder, ctx.logger = tmp_path, logging.getLogger("test")
    return SegmentTask(cfg, ctx)


def test_two_processes_count_every_object_once(tmp_path, monkeypatch):
    whole = make_task(tmp_path).evaluate("test")
    table = result(tmp_path, "part_iou.json")
    rows = []
    monkeypatch.setattr(distributed, "all_gather_objects", lambda mine: rows.insert(0, mine) or rows)
    make_task(tmp_path, rank=1, world_size=2).evaluate("test")
    assert len(rows[0]) == 3
    assert make_task(tmp_path, rank=0, world_size=2).evaluate("test") == pytest.approx(whole)
    assert result(tmp_path, "part_iou.json")["objects"] == pytest.approx(table["objects"])


BAD = {
    "no part labels": (["data.type=SweetHome3D"], "ShapeNetPart"),
    "points that move onto others": (["data.augment.dropout=0.5"], "dropout"),
    "points that change places": (["data.eval_sampling=fps"], "eval_sampling"),
    "a pool of points": (["data.sample_pool=60"], "sample_pool"),
    "a block that is not there": (["segmenter.feature_blocks=[3]"], "feature_blocks"),
    "too few patches": (["model.num_groups=2"], "at least 3"),
}


@pytest.mark.parametrize("arguments, hint", BAD.values(), ids=BAD.keys())
def test_bad_input_ends_with_one_sentence_and_leaves_nothing(launch, capsys, arguments, hint):
    code, folder = launch(*OPTIONS, *arguments)
    error = capsys.readouterr().err.strip()
    assert code == 2 and error.startswith("error: ") and "\n" not in error and hint in error, error
    assert not folder.exists()


@pytest.mark.parametrize("name", ["finetune_shapenetpart", "scratch_shapenetpart"])
def test_the_published_settings(name):
    cfg = load_config(CFGS / "partseg" / f"{name}.yaml")
    assert (cfg.epochs, cfg.batch_size, cfg.optim.lr, cfg.optim.weight_decay) == (300, 16, 1e-4, 0.05)
    with torch.device("meta"):
        model = build_segmenter(cfg, 16, 50)
    assert model.feature_blocks == [4, 8, 12] and not model.encoder.stop_grad
    assert (model.encoder.group.num_groups, model.encoder.group.group_size) == (128, 32)
    groups = parameter_groups(model, cfg.optim)
    head = {id(parameter) for parameter in model.head.parameters()}
    assert all((id(p) in head) == (group["lr_scale"] == 10) for group in groups for p in group["params"])


def test_without_part_labels_no_task_is_made():
    with pytest.raises(InputError, match="no part labels"):
        segment._check_parts(SimpleNamespace(num_parts=0), "Other")
