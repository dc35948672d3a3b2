"""The loop: what a run leaves, how it resumes, how it chooses."""

import json

import pytest
import torch

from pointrecon.tools.training import runner
from pointrecon.tools.training.batches import step_seed
from pointrecon.tools.training.guards import LossGuard
from tests.miniature import run_main


def read(folder, name="result.json"):
    return json.loads((folder / name).read_text())


def records(folder, split):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["split"] == split]


def weights(folder, name="ckpt-last.pth"):
    return torch.load(folder / name, weights_only=True)["base_model"]


def assert_same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


def test_pretraining_leaves_what_is_documented_and_the_loss_falls(launch):
    code, folder = launch("epochs=8")
    assert code == 0
    left = {path.name for path in folder.iterdir()}
    assert {"config.yaml", "env.json", "log.txt", "metrics.jsonl", "result.json", "ckpt-last.pth", "tb"} <= left
    train = records(folder, "train")
    assert [record["epoch"] for record in train] == list(range(1, 9))
    assert {"loss", "chamfer", "image", "text", "lr", "shapes_per_second"} <= train[0].keys()
    assert train[-1]["loss"] < 0.8 * train[0]["loss"]
    assert train[0]["loss"] == pytest.approx(train[0]["chamfer"] + train[0]["image"] + train[0]["text"], rel=1e-5)
    content = torch.load(folder / "ckpt-last.pth", weights_only=True)
    wanted = {
        "base_model",
        "optimizer",
        "epoch",
        "step",
        "metrics",
        "best_metrics",
        "config",
        "random_state",
        "version",
    }
    assert wanted <= content.keys() and content["epoch"] == 8
    assert not any("teacher" in key for key in content["base_model"])


def test_the_written_config_alone_repeats_the_run(launch, tmp_path, monkeypatch):
    import main

    _, first = launch("seed=3")
    argv = ["main.py", "--config", str(first / "config.yaml"), "--exp_name", "again"]
    monkeypatch.setattr("sys.argv", argv)
    assert main.main() == 0
    assert_same(weights(first), weights(tmp_path / "out" / "config" / "run" / "again"))


def test_another_seed_gives_another_run(launch):
    (_, a), (_, b) = launch("seed=0", "epochs=1", name="a"), launch("seed=1", "epochs=1", name="b")
    assert any(not torch.equal(x, y) for x, y in zip(weights(a).values(), weights(b).values(), strict=True))


class Killed(BaseException):
    """Stands for a signal: nothing in the program may catch it."""


TWO_EPOCHS = ("epochs=2", "save_every=2", "accum_steps=1")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data_root):
    return run_main(tmp_path_factory.mktemp("whole"), data_root, *TWO_EPOCHS)


@pytest.mark.parametrize("step", [3, 8, 13])
def test_a_killed_run_resumes_to_the_same_weights(launch, monkeypatch, whole, step):
    original = runner.Runner.train_step

    def train_step(self, *arguments):
        if self.state.step == step:
            raise Killed
        original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(runner.Runner, "train_step", train_step)
        with pytest.raises(Killed):
            launch(*TWO_EPOCHS, name="killed")
    code, killed = launch(*TWO_EPOCHS, "--resume", name="killed")
    assert code == 0
    assert_same(weights(whole), weights(killed))
    steps = [record["step"] for record in records(killed, "train")]
    assert steps == [record["step"] for record in records(whole, "train")]


def test_accumulation_divides_the_loss(launch):
    """Two halves of a batch with one optimizer step move the head as the whole batch does."""
    options = (
        "task=classify",
        "epochs=1",
        "classifier.head=linear",
        "classifier.freeze=backbone",
        "optim.grad_clip=null",
    )
    _, whole = launch(*options, "batch_size=16", "optim.type=AdamW", name="whole")
    _, halves = launch(*options, "batch_size=8", "accum_steps=2", name="halves")
    assert records(whole, "train")[0]["step"] == records(halves, "train")[0]["step"]
    # Points are drawn a batch at a time, so the two differ by sampling, not by a factor of two in the gradient.
    a = torch.load(whole / "ckpt-last.pth", weights_only=True)["optimizer"]["state"][0]["exp_avg"].norm()
    b = torch.load(halves / "ckpt-last.pth", weights_only=True)["optimizer"]["state"][0]["exp_avg"].norm()
    assert b / a == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize("select", ["last", "val", "test"])
def test_the_test_split_is_read_once_unless_asked(launch, monkeypatch, select):
    from pointrecon.tools.tasks.classify import ClassifyTask

    read_splits = []
    original = ClassifyTask.evaluate
    monkeypatch.setattr(
        ClassifyTask, "evaluate", lambda self, split: read_splits.append(split) or original(self, split)
    )
    code, folder = launch("task=classify", f"select={select}", "epochs=3", "data.val_fraction=0.3")
    assert code == 0
    middle = {"last": [], "val": ["val"] * 3, "test": ["test"] * 3}[select]
    assert read_splits == [*middle, "test"]
    result = read(folder)
    assert result["select"] == select and result["seed"] == 0 and result["num_objects"] == 15
    assert {"accuracy", "mean_class_accuracy"} <= result.keys()
    assert ("note" in result) == (select == "test")
    assert (folder / "ckpt-best.pth").is_file() == (select != "last")


def test_the_best_checkpoint_gives_the_final_number(launch, monkeypatch):
    from pointrecon.tools.tasks.classify import ClassifyTask

    original, scores = ClassifyTask.evaluate, iter([0.9, 0.2, 0.1])

    def evaluate(self, split):
        metrics = original(self, split)
        return {**metrics, "accuracy": next(scores)} if split == "val" else metrics

    monkeypatch.setattr(ClassifyTask, "evaluate", evaluate)
    _, folder = launch("task=classify", "select=val", "epochs=3", "data.val_fraction=0.3", "keep_epochs=[1]")
    assert read(folder)["epoch"] == 1
    assert_same(weights(folder, "ckpt-best.pth"), weights(folder, "ckpt-epoch-1.pth"))


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_last_checkpoint(launch, monkeypatch, capsys):
    from pointrecon.tools.tasks.pretrain import PretrainTask

    original = PretrainTask.training_step

    def training_step(self, batch):
        loss, report = original(self, batch)
        epoch = self.train_loader.sampler.epoch
        return (loss * float("nan"), {**report, "loss": loss.detach() * float("nan")}) if epoch else (loss, report)

    monkeypatch.setattr(PretrainTask, "training_step", training_step)
    code, folder = launch("epochs=3")
    assert code == 2 and "nan" in capsys.readouterr().err
    assert all(value.isfinite().all() for value in weights(folder).values() if value.is_floating_point())


def test_short_epochs_need_not_all_be_saved(launch, monkeypatch):
    written, make = [], runner.write_into

    def write_into(folder):
        write = make(folder)
        return lambda content, names: (written.append((content["epoch"], *names)), write(content, names))

    monkeypatch.setattr(runner, "write_into", write_into)
    options = ("save_epochs=2", "keep_epochs=[3]")
    assert launch("epochs=5", *options)[0] == 0
    assert written == [(2, "ckpt-last.pth"), (3, "ckpt-epoch-3.pth", "ckpt-last.pth")] + [
        (epoch, "ckpt-last.pth") for epoch in (4, 5)
    ]
    written.clear()
    options = ("task=classify", "select=val", "data.val_fraction=0.3", "eval_every=3", "save_epochs=4")
    assert launch("epochs=4", *options, name="best")[0] == 0
    assert (3, "ckpt-best.pth", "ckpt-last.pth") in written and written[-1][0] == 4


def test_seeds_of_steps_differ():
    seeds = {step_seed(seed, step, rank) for seed in range(3) for step in range(50) for rank in range(4)}
    assert len(seeds) == 3 * 50 * 4


class Waits(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts what would make the host wait for a GPU: values that are read, and sizes that depend on values."""

    NAMES = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal")

    def __init__(self):
        super().__init__()
        self.found, self.is_off = [], False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__.split(".")[0]
        if name in self.NAMES and not self.is_off:
            self.found.append(name)
        return func(*args, **(kwargs or {}))

    def leave_out(self, monkeypatch, owner, name):
        """Counts nothing in a function: it reads on the CPU alone, or has tests of its own."""
        original = getattr(owner, name)

        def function(*arguments):
            self.is_off = True
            try:
                return original(*arguments)
            finally:
                self.is_off = False

        monkeypatch.setattr(owner, name, function)


def test_the_host_waits_once_between_two_looks_at_the_loss(launch, monkeypatch):
    from pointrecon.tools.tasks.pretrain import PretrainTask

    mode, waits, looks = Waits(), {}, []
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: (mode.is_off or looks.append(1), tolist(self))[1])
    # As on a GPU. On a CPU alone the data are read, points are checked and the optimizer looks at its step counters.
    monkeypatch.setattr(LossGuard, "looks_always", False)
    for owner, name in ((runner.Runner, "read_batches"), (runner.Runner, "step_optimizer")):
        mode.leave_out(monkeypatch, owner, name)
    mode.leave_out(monkeypatch, PretrainTask, "training_step")
    original = runner.Runner.train_step

    def train_step(self, *arguments):
        mode.found.clear(), looks.clear()
        with mode:
            original(self, *arguments)
        waits[self.state.step] = (*mode.found, len(looks))

    monkeypatch.setattr(runner.Runner, "train_step", train_step)
    code, _ = launch("epochs=1", "log_every=4", "batch_size=6", "accum_steps=2", "save_every=5")
    # A loss is looked at when it is shown, and before a checkpoint: the one of `save_every` and the epoch's.
    assert code == 0 and waits == {step: (int(step in (4, 5, 6)),) for step in range(1, 7)}
