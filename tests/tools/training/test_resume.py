"""A run that was killed anywhere and goes on is the run that was not: weights, metrics, best checkpoint."""

import json

import pytest
import torch

from pointrecon.datasets import DATASETS
from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.tools.training import runner, saving
from pointrecon.utils.errors import InputError
from tests.miniature import run_main

NUM_OBJECTS = {"train": 22, "val": 6, "test": 6}
RANDOM = ("model.drop_path=0.2", "data.augment.jitter=0.01")
TASKS = {
    "pretrain": ("task=pretrain", "accum_steps=2", "save_every=3", *RANDOM),
    "pretrain-workers": ("task=pretrain", "num_workers=2", "save_every=3"),
    "classify": ("task=classify", "select=val", "data.val_fraction=0.3", "classifier.dropout=0.3", "save_every=2"),
    "segment": ("task=segment", "data.type=DrawnParts", "batch_size=4", "save_every=2"),
    "segment-workers": ("task=segment", "data.type=DrawnParts", "batch_size=4", "save_every=2", "num_workers=2"),
}
# A run that was killed in this process ends its loading processes when it is collected: that takes long.
SLOW = [pytest.param(name, marks=pytest.mark.slow if name.endswith("workers") else ()) for name in TASKS]


@DATASETS.register()
class DrawnParts(PointCloudDataset):
    """Boxes of 64 points in two parts, whose points are drawn anew each time in training."""

    published_splits = ("train", "val", "test")
    parts_of_class = ((0, 1), (2, 3))

    def __init__(self, root, resample="fixed"):
        split_of = [split for split, count in NUM_OBJECTS.items() for _ in range(count)]
        self.points = 2 * torch.rand(len(split_of), 64, 3, generator=torch.Generator().manual_seed(5)) - 1
        super().__init__(
            ids=[f"{split}{row}" for row, split in enumerate(split_of)],
            labels=torch.arange(len(split_of)) % 2,
            split_of=split_of,
            class_names=["crate", "shelf"],
        )

    @property
    def is_redrawn(self):
        return self.is_training

    def read(self, row):
        points = self.points[row]
        if self.is_redrawn:
            points = points[torch.randint(64, (64,))]
        sample = self.sample(row, points)
        return {**sample, "part": (points[:, 1] > 0).long() + 2 * sample["label"]}


class Killed(BaseException):
    """Stands for a signal: nothing in the program may catch it."""


def kill_at(monkeypatch, step):
    original = runner.Runner.train_step

    def train_step(self, *arguments):
        if self.state.step == step:
            raise Killed
        original(self, *arguments)

    monkeypatch.setattr(runner.Runner, "train_step", train_step)


def content(folder, name="ckpt-last.pth"):
    return torch.load(folder / name, weights_only=True)


def records(folder):
    """What metrics.jsonl says, without how fast it went."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if name != "shapes_per_second"} for line in lines]


def result(folder):
    """What result.json says, without how long it took, what the run is called and which commit it is."""
    own = ("seconds", "run", "checkpoint", "commit")
    return {key: value for key, value in json.loads((folder / "result.json").read_text()).items() if key not in own}


def assert_same(a, b, place="checkpoint"):
    """Equal to the last bit, all the way down."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), place
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), place
        for key in a:
            assert_same(a[key], b[key], f"{place}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), place
        for number, pair in enumerate(zip(a, b, strict=True)):
            assert_same(*pair, f"{place}[{number}]")
    else:
        assert a == b, place


def assert_same_run(whole, killed):
    for name in ("ckpt-last.pth", "ckpt-best.pth"):
        assert (whole / name).is_file() == (killed / name).is_file()
        if (whole / name).is_file():
            a, b = content(whole, name), content(killed, name)
            for part in (a, b):
                part["schedule"].pop("seconds")
                part.pop("config")
            assert_same(a, b, name)
    assert records(whole) == records(killed) and result(whole) == result(killed)


@pytest.mark.parametrize("name", SLOW)
def test_a_killed_run_goes_on_to_the_same_bits(launch, monkeypatch, name):
    options = (*TASKS[name], "epochs=2")
    code, whole = launch(*options, name="whole")
    assert code == 0
    for step in (3, 5):  # killed twice: in the first epoch, and once more soon after
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_at(patch, step)
            launch(*options, *(["--resume"] if step > 3 else []), name="killed")
    code, killed = launch(*options, "--resume", name="killed")
    assert code == 0
    assert_same_run(whole, killed)


ENDS = ("task=classify", "select=val", "data.val_fraction=0.3", "epochs=3", "save_every=1", "keep_epochs=[1]")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data_root):
    """A run that nothing interrupts."""
    return run_main(tmp_path_factory.mktemp("whole"), data_root, *ENDS)


@pytest.mark.parametrize("after", ["metrics of the epoch", "best checkpoint", "last checkpoint"])
def test_an_end_of_an_epoch_that_was_interrupted_leaves_no_line_twice_and_none_out(launch, monkeypatch, whole, after):
    """Each step is saved, so that the last one of an epoch is saved before the epoch is counted, and after."""
    with monkeypatch.context() as patch, pytest.raises(Killed):
        place, name = {
            "metrics of the epoch": (runner.Runner, "validate"),
            "best checkpoint": (saving, "save_last"),
            "last checkpoint": (runner.Runner, "finish"),
        }[after]
        original = getattr(place, name)

        def fail(first, *rest):
            is_end = name != "save_last" or first["epoch"] == 1
            if is_end:
                raise Killed
            return original(first, *rest)

        patch.setattr(place, name, fail)
        launch(*ENDS, name="killed")
    code, killed = launch(*ENDS, "--resume", name="killed")
    assert code == 0 and (killed / "ckpt-epoch-1.pth").is_file()
    assert_same_run(whole, killed)


def test_a_checkpoint_holds_everything(launch):
    code, folder = launch("task=classify", "select=val", "data.val_fraction=0.3", "epochs=1", "save_every=4")
    saved = content(folder, "ckpt-previous.pth")
    assert code == 0 and saved["step"] == 4 and saved["epoch"] == 0
    assert saved["sampler"] == {"epoch": 0, "steps": 4} and saved["progress"]["sums"]["loss"][1] == 32
    assert saved["optimizer"]["state"][0]["step"] == 4 and saved["schedule"]["total_steps"] == 4
    assert {"python", "numpy", "torch"} <= saved["random_state"].keys()
    assert saved["versions"]["torch"] == str(torch.__version__).split("+")[0] and "commit" in saved["versions"]
    assert saved["config"]["optim"]["lr"] == 2e-3 and content(folder)["best_metrics"]["epoch"] == 1


def test_steps_that_were_left_out_are_counted_over_interruptions(launch, monkeypatch, capsys):
    from pointrecon.tools.tasks.pretrain import PretrainTask

    original = PretrainTask.training_step

    def training_step(self, batch):
        loss, report = original(self, batch)
        return (loss * float("nan"), report) if "object3" in batch["id"] else (loss, report)  # once an epoch

    monkeypatch.setattr(PretrainTask, "training_step", training_step)
    options = ("epochs=3", "skip_nonfinite=2")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 8)
        launch(*options)
    code, folder = launch(*options, "--resume")
    assert code == 2 and "the loss became nan" in capsys.readouterr().err
    assert content(folder)["progress"]["num_skipped"] == 2


def test_other_versions_are_told(caplog):
    import logging

    from pointrecon.tools.checkpoints.snapshot import check_versions
    from pointrecon.tools.environment import describe_versions

    saved = {**describe_versions(), "torch": "1.0"}
    check_versions(saved, logging.getLogger("test"))
    assert [record.message for record in caplog.records] == [
        f"resume: torch was 1.0 and is {describe_versions()['torch']}; results may differ in the last digits"
    ]


def test_a_writer_that_fails_ends_the_run_at_the_next_step(launch, monkeypatch, capsys):
    steps = []
    original = runner.Runner.train_step
    monkeypatch.setattr(runner.Runner, "train_step", lambda self, *a: steps.append(1) or original(self, *a))

    def fail(*_):
        raise InputError("cannot write 'x': no space left on device")

    monkeypatch.setattr(saving, "save_last", fail)
    code, folder = launch("epochs=2", "save_every=2")
    assert code == 2 and "no space left" in capsys.readouterr().err
    assert len(steps) <= 4 and not list(folder.glob("*.pth"))


def test_a_restart_before_the_first_checkpoint_leaves_nothing_of_the_killed_attempt(launch, monkeypatch):
    options = ("task=classify", "epochs=4", "save_epochs=4")
    _, whole = launch(*options, name="whole")
    monkeypatch.setenv("RECON_REQUEUED", "1")  # as scripts/slurm.sh does
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 14)  # in the third epoch of six steps
        launch(*options, "--resume", name="killed")
    folder = launch.folder("killed")
    assert len(records(folder)) == 2 and list((folder / "tb").iterdir())
    (folder / "nan.pth").write_bytes(b"of the attempt before")
    code, _ = launch(*options, "--resume", name="killed")
    assert code == 0
    assert_same_run(whole, folder)
    log = (folder / "log.txt").read_text()
    assert log.count("starts from the beginning") == 2 and log.count("epoch 1/4") == 2  # of both attempts
    assert not (folder / "nan.pth").exists() and len(list((folder / "tb").iterdir())) == 1
