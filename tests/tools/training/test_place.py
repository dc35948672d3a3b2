"""A run whose epochs have another number of steps when it goes on: nothing is left out, nothing is trained twice."""

import json
import math
import shutil

import pytest

from pointrecon.tools.checkpoints.snapshot import State
from pointrecon.tools.training import runner
from pointrecon.tools.training.place import find_place
from pointrecon.utils.errors import InputError
from tests.miniature import run_main
from tests.tools.training.test_resume import Killed, content, kill_at, records

BASE = {"batch_size": 8, "accum_steps": 1, "epochs": 4, "protocol": "sound", "task": "pretrain", "data": {"type": "x"}}


def place(done, *, steps=10, now_steps, total=None, **changes):
    saved = {"config": BASE, "schedule": {"total_steps": total or 4 * steps}, "path": "x.pth"}
    if total is None:
        saved["schedule"]["steps_per_epoch"] = steps
    state, change = find_place(
        State(epoch=1, step=steps + done, epoch_steps=done), saved, {**BASE, **changes}, steps_per_epoch=now_steps
    )
    assert (state.epoch, state.step) == (1, steps + done)
    return state.epoch_steps, change


@pytest.mark.parametrize(
    ("done", "changes", "now_steps", "expected"),
    [
        (4, {"batch_size": 4}, 20, 8),
        (4, {"accum_steps": 2}, 5, 2),
        (5, {"accum_steps": 2}, 5, 2),  # the nearest step; a half is rounded to an even one
        (7, {"batch_size": 24}, 4, 2),
        (4, {}, 9, 4),  # another number of processes leaves other samples over
        (10, {}, 9, 9),  # an epoch that is done stays done
        (10, {}, 11, 11),
        (0, {"batch_size": 80}, 1, 0),
        (9, {"batch_size": 80}, 1, 1),
        (6, {}, 4, 4),  # fewer samples than were trained on
    ],
)
def test_the_place_is_kept_in_samples(done, changes, now_steps, expected):
    found, change = place(done, now_steps=now_steps, **changes)
    assert found == expected
    assert f"had 10 steps of 8 samples and has {now_steps} of" in change and f"as after {expected}" in change


def test_the_same_epochs_are_the_same_place_and_nothing_is_said():
    assert place(3, now_steps=10) == (3, None)
    assert place(3, now_steps=10, total=40) == (3, None)  # older checkpoints know only the whole


def test_counts_that_contradict_each_other_are_one_sentence():
    with pytest.raises(InputError, match="cannot resume from 'x.pth': it claims 11 steps in an epoch of 10"):
        place(11, now_steps=10)
    with pytest.raises(InputError, match="does not say how long its epochs were"):
        find_place(State(), {"config": {}, "schedule": {"total_steps": 4}, "path": "x"}, BASE, steps_per_epoch=4)


CHANGES = {
    "accumulation": ("accum_steps=2",),
    "smaller batches": ("batch_size=4",),
    "larger batches": ("batch_size=20",),
    "both": ("batch_size=10", "accum_steps=2"),
    "as before": (),
}


OPTIONS = ("epochs=3", "save_every=1", "optim.warmup_epochs=0", "optim.grad_clip=null")


@pytest.fixture(scope="module")
def killed(tmp_path_factory, data_root):
    """Step -> folder of a run that was killed there: after an epoch of 8 steps, and within one; not to be changed."""
    folders = {}
    for step in (8, 11):
        folders[step] = tmp_path_factory.mktemp("killed") / "out" / "tiny" / "cfgs" / "run"
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            kill_at(patch, step)
            run_main(folders[step].parents[3], data_root, *OPTIONS)
    return folders


@pytest.mark.parametrize("step", [8, 11])
@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES.keys())
def test_a_run_goes_on_with_other_steps(launch, killed, monkeypatch, step, changes):
    """65 samples; every epoch is whole, and the rate goes on from where it was."""
    shutil.copytree(killed[step], launch.folder("run"))
    trained, rates = [], []
    original = runner.Runner.train_step

    def train_step(self, progress):
        original(self, progress)
        trained.append((self.state.epoch + 1, self.state.epoch_steps, self.steps_per_epoch))
        rates.append(self.optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(runner.Runner, "train_step", train_step)
    code, folder = launch(*OPTIONS, *changes, "--resume", "resume_changed=true")
    assert code == 0
    length = trained[0][2]
    assert {epoch: [number for at, number, _ in trained if at == epoch][-1] for epoch in (2, 3)} == {
        2: length,
        3: length,
    }
    first = [number for at, number, _ in trained if at == 2][0]
    assert abs((first - 1) / length - (step - 8) / 8) <= 0.5 / length + 0.02
    # A cosine over three epochs: what it is after the same share of the run.
    progress = (length + first - 1) / (3 * length)
    assert rates[0] == pytest.approx(1e-6 + (2e-3 - 1e-6) * (1 + math.cos(math.pi * progress)) / 2)
    assert abs(progress - step / 24) <= 0.5 / (3 * length) + 0.01
    assert [record["epoch"] for record in records(folder) if record["split"] == "train"] == [1, 2, 3]
    assert content(folder)["epoch"] == 3 and content(folder)["step"] == step + len(trained)


def test_a_checkpoint_of_an_epoch_starts_a_run_of_its_own(launch):
    """As a user does it: the file of an epoch under another name, in a folder of its own."""
    options = ("task=classify", "epochs=4", "keep_epochs=[2]", "keep=weights")
    _, folder = launch(*options, "batch_size=20")
    other = launch.folder("other")
    other.mkdir()
    shutil.copy(folder / "ckpt-epoch-2.pth", other / "ckpt-last.pth")
    code, _ = launch(*options, "batch_size=20", "accum_steps=2", "--resume", "resume_changed=true", name="other")
    lines = [json.loads(line) for line in (other / "metrics.jsonl").read_text().splitlines()]
    assert code == 0 and [line["epoch"] for line in lines if line["split"] == "train"] == [3, 4]
    before, *steps = content(folder, "ckpt-epoch-2.pth")["step"], *(x["step"] for x in lines if x["split"] == "train")
    assert steps[0] - before == steps[1] - steps[0] > 0
