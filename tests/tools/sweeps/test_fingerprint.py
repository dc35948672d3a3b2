"""Done means: the same settings, checkpoint, data and code, and files as the run left them."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from pointrecon.tools.sweeps import fingerprint, work
from pointrecon.tools.sweeps.plan import Run
from pointrecon.tools.sweeps.work import BUSY, DONE, Order, do, locked
from pointrecon.utils.errors import InputError


@pytest.fixture
def runs(monkeypatch):
    """The runs that were really done, instead of which a result is written."""
    done = []

    def run_here(arguments):
        run = Run("x", arguments[1], arguments[3], tuple(arguments[4:]))
        folder = run.folder()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").write_text(json.dumps({"accuracy": 0.5, "run": len(done)}))
        done.append(arguments)

    monkeypatch.setattr(work, "run_here", run_here)
    return done


@pytest.fixture
def make(write_table, tmp_path):
    """make(*arguments) is a run in one and the same folder."""
    config = write_table().with_name("finetune.yaml")

    def run(*arguments, **options):
        return Run("r", str(config), "r", (f"output_root={tmp_path / 'out'}", *arguments), **options)

    return run


def reason(run, **options):
    return fingerprint.why_not_done(run, run.folder(), fingerprint.inputs_of(run), **options)


def test_a_run_is_done_once(make, runs):
    assert reason(make()) == "not done yet"
    assert do(Order(make())) == (DONE, "")
    assert reason(make()) is None
    assert do(Order(make()))[0] == DONE and len(runs) == 1
    do(Order(make(), again=True))
    assert len(runs) == 2 and "--overwrite" in runs[1]


@pytest.mark.parametrize("change", ["optim.lr=1e-4", "seed=3", "data.fold=1", "model.depth=1", "epochs=7"])
def test_other_settings_are_another_run(make, runs, change):
    do(Order(make()))
    key = change.split("=")[0]
    assert f"{key} was" in reason(make(change))
    do(Order(make(change)))
    assert len(runs) == 2 and reason(make(change)) is None and reason(make()) is not None


def test_where_things_lie_is_no_setting(make, runs, tmp_path, data_root):
    shutil.copytree(data_root, tmp_path / "moved")
    do(Order(make()))
    assert reason(make(f"data_root={tmp_path / 'moved'}")) is None


def test_another_checkpoint_of_the_same_name_is_seen(make, runs, tmp_path):
    start = tmp_path / "net.pth"
    start.write_bytes(b"one")
    run = make("--ckpts", str(start))
    do(Order(run))
    assert reason(run) is None and reason(make()) == "done with other inputs: it started from another checkpoint"
    shutil.copy(start, tmp_path / "copy.pth")
    assert reason(make("--ckpts", str(tmp_path / "copy.pth"))) is None  # what is in it counts, not its name
    start.write_bytes(b"two")
    assert "another checkpoint" in reason(run)
    start.unlink()
    with pytest.raises(InputError, match=r"net.pth' cannot be read"):
        reason(run)


def test_other_data_are_seen(make, runs, tmp_path, data_root):
    shutil.copytree(data_root, tmp_path / "data")
    run = make(f"data_root={tmp_path / 'data'}")
    do(Order(run))
    (tmp_path / "data" / "sweethome3d" / "made-later.h5").write_bytes(b"not read by the run")
    assert reason(run) is None
    with (tmp_path / "data" / "sweethome3d" / "sweethome3d.h5").open("ab") as file:
        file.write(b"x")
    assert "data file 'sweethome3d/sweethome3d.h5' is another one" in reason(run)


def test_other_code_is_seen_unless_accepted(make, runs):
    do(Order(make(), code="older"))
    assert reason(make()) == "done with other inputs: the code was another version"
    assert reason(make(), any_code=True) is None
    assert "epochs was" in reason(make("epochs=9"), any_code=True)


def test_a_key_that_older_code_did_not_know_has_its_default(make, runs):
    do(Order(make()))
    path = make().folder() / "fingerprint.json"
    record = json.loads(path.read_text())
    del record["inputs"]["config"]["precision"]
    path.write_text(json.dumps(record))
    assert "precision was not there, is fp32" in reason(make())
    assert reason(make(), any_code=True) is None
    assert "precision was fp32, is bf16" in reason(make("precision=bf16"), any_code=True)


def test_a_spoilt_run_is_seen(make, runs):
    run = make(outputs=("ckpt-last.pth",))
    folder = run.folder()
    folder.mkdir(parents=True)
    inputs = fingerprint.inputs_of(run)
    (folder / "result.json").write_text("{}")
    assert "not what it was made from" in reason(run)
    fingerprint.write_started(folder, inputs)
    assert reason(run) == "not done yet"
    (folder / "ckpt-last.pth").write_bytes(b"weights")
    (folder / "result.json").write_text("{}")
    assert reason(run) == "begun, not ended"
    fingerprint.write_done(run, folder, inputs, {})
    assert reason(run) is None
    for name, content in (("result.json", "{ }"), ("ckpt-last.pth", "others")):
        before = (folder / name).read_bytes()
        (folder / name).write_text(content)
        assert reason(run) == f"'{name}' was changed after the run"
        (folder / name).unlink()
        assert reason(run) in (f"'{name}' is gone", "not done yet")
        (folder / name).write_bytes(before)
    for text in ("{", "[]", "{}", '{"state": "done", "inputs": {"config": 3}}'):
        (folder / "fingerprint.json").write_text(text)
        assert reason(run) is not None


def test_a_run_that_was_killed_goes_on_from_its_checkpoint(make, runs):
    run = make()
    folder = run.folder()
    fingerprint.write_started(folder, fingerprint.inputs_of(run))
    (folder / "ckpt-last.pth").write_bytes(b"weights")
    assert not fingerprint.can_resume(folder, fingerprint.inputs_of(make("epochs=9")))
    do(Order(run))
    assert "--resume" in runs[0] and reason(run) is None
    do(Order(make("epochs=9")))
    assert "--overwrite" in runs[1]


def test_a_failed_run_is_not_done(make, runs, monkeypatch):
    def fail(arguments):
        raise InputError("no")

    monkeypatch.setattr(work, "run_here", fail)
    with pytest.raises(InputError, match="no"):
        do(Order(make()))
    assert reason(make()) is not None


def test_one_process_a_run(make, runs):
    with locked(make().folder()) as is_ours, locked(make().folder()) as is_theirs:
        assert is_ours and not is_theirs
        assert do(Order(make())) == (BUSY, "another process has it at work") and not runs
    assert do(Order(make()))[0] == DONE


def test_comments_are_no_other_code():
    plain = fingerprint._plain
    assert plain('"""Doc."""\n\nx = 1  # why\n') == plain("x = 1\n") != plain("x = 2\n")
    assert plain('def f():\n    """Doc."""\n    return 3\n') == plain("def f():\n    return 3\n")
    assert plain("y = x in {'a', 'b'}") != plain("y = x in {'a', 'c'}") != plain("y = z in {'a', 'c'}")
    places = {path.relative_to(fingerprint.PACKAGE).as_posix() for path in fingerprint._sources()}
    assert {"tools/training/runner.py", "models/encoder.py", "utils/seed.py"} < places
    assert not any(place.startswith(("tools/sweeps", "tests")) for place in places)


@pytest.mark.slow
def test_the_digest_of_the_code_is_the_same_in_every_process():
    command = "from pointrecon.tools.sweeps.fingerprint import code_digest as f; print(f())"
    done = [
        subprocess.run([sys.executable, "-c", command], env={**os.environ, "PYTHONHASHSEED": seed}, text=True,
                       capture_output=True, check=True)
        for seed in ("1", "2")
    ]  # fmt: skip
    assert done[0].stdout == done[1].stdout and len(done[0].stdout.strip()) == 64


def test_what_another_run_left_is_not_gone_on_with(make, runs):
    """A run with other settings that was killed has left a checkpoint; ours is killed before it writes one."""
    folder = make().folder()
    fingerprint.write_started(folder, fingerprint.inputs_of(make("epochs=9")))
    (folder / "ckpt-last.pth").write_bytes(b"of nine epochs")
    inputs = fingerprint.inputs_of(make())
    fingerprint.write_started(folder, inputs)
    assert not fingerprint.can_resume(folder, inputs)
