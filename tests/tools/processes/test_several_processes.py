"""Real processes: several compute what one does, none waits for ever, and a run that is killed goes on."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import yaml

import main
from tests import ROOT
from tests.processes import free_port, run_in_processes
from tests.soak.miniature_parts import write_parts

SIZES = {"embed_dim": 24, "depth": 2, "num_heads": 2, "num_groups": 8, "group_size": 4, "decoder_depth": 1}
AUGMENT = {"rotate_y": 180.0, "scale": [0.7, 1.4], "shift": 0.1, "jitter": 0.01, "flip_x": 0.5, "dropout": 0.5}
MAIN = """
import main
sys.exit(main.main())
"""
# main.py with points, weights and targets of double precision: rounding is out of the way, and only a mistake is left.
DOUBLE = """
import sys
import torch
import main
from pointrecon.datasets.transforms import PointTransform
from pointrecon.tools.teachers.teachers import Teachers
torch.set_default_dtype(torch.float64)
transform, draw = PointTransform.__call__, Teachers.draw
PointTransform.__call__ = lambda self, points, generator=None: transform(self, points.double(), generator)
Teachers.draw = lambda *arguments: tuple(x.double() for x in draw(*arguments))
sys.exit(main.main())
"""
# main.py in which one process does something else in its third step, unless it has been started again.
FAIL = """
import os, signal, sys, time
import main
from pointrecon.tools.tasks.pretrain import PretrainTask
step, calls = PretrainTask.training_step, []
def training_step(self, batch):
    calls.append(1)
    is_first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    if len(calls) == 3 and os.environ["RANK"] == os.environ["FAIL_RANK"] and is_first:
        {how}
    return step(self, batch)
PretrainTask.training_step = training_step
sys.exit(main.main())
"""


@pytest.fixture
def write_config(tmp_path):
    """write_config(**changes) writes cfgs/tiny.yaml and returns its path; runs go to `tmp_path`/out/tiny/cfgs/."""

    def write(**changes):
        path = tmp_path / "cfgs" / "tiny.yaml"
        path.parent.mkdir(exist_ok=True)
        options = {"device": "cpu", "figures": False, "sync_bn": True, "output_root": str(tmp_path / "out")}
        options |= {"optim": {"lr": 5e-4, "warmup_epochs": 2, "grad_clip": 10.0}}
        options |= {"model": {**SIZES, "decoder_num_heads": 2, "drop_path": 0.3}}
        path.write_text(yaml.dump({**options, **changes}))
        return path

    return write


@pytest.fixture
def run(tmp_path):
    """run(processes, config, *arguments, code=None) runs main.py, or other code, and returns the run folder."""

    def run(processes, config, *arguments, code=None, name=None):
        name = name or f"of{processes}"
        argv = ["main.py", "--config", str(config), "--exp_name", name, *arguments]
        run_in_processes(f"import sys\nsys.argv = {argv}\n{code or MAIN}", processes, timeout=600)
        return tmp_path / "out" / "tiny" / "cfgs" / name

    return run


def losses(folder):
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return np.array([record["loss"] for record in records if record["split"] == "train"])


def test_two_processes_take_the_steps_of_one(write_config, run, data_root, monkeypatch):
    """Three steps in single precision, in which rounding has little time to grow."""
    data = {"num_points": 48, "drop_last": True, "augment": AUGMENT}
    config = write_config(data_root=str(data_root), batch_size=60, epochs=3, data=data)
    two = run(2, config)
    monkeypatch.setattr("sys.argv", ["main.py", "--config", str(config), "--exp_name", "of1"])
    assert main.main() == 0
    one, two = losses(two.with_name("of1")), losses(two)
    assert len(one) == 3 and np.abs(two / one - 1).max() < 1e-5


INFONCE = {"image": {"type": "infonce", "normalize": True}, "contrast": {"weight": 0.5}}
RUNS = {
    "published losses": ({"epochs": 20}, 1e-10),
    "losses between samples, accumulated": ({"epochs": 6, "loss": INFONCE, "batch_size": 30, "accum_steps": 2}, 1e-10),
    "block masks": ({"epochs": 3, "model": {**SIZES, "decoder_num_heads": 2, "mask_type": "block"}}, 1e-10),
    # Logits are cast to single precision.
    "a head with dropout": ({"epochs": 10, "task": "classify", "batch_size": 30}, 1e-5),
}


@pytest.mark.slow
@pytest.mark.parametrize(("changes", "tolerance"), RUNS.values(), ids=RUNS.keys())
def test_several_processes_take_the_steps_of_one_in_double_precision(
    write_config, run, data_root, monkeypatch, changes, tolerance
):
    monkeypatch.setenv("POINT_OPS", "reference")
    data = {"num_points": 48, "drop_last": True, "augment": AUGMENT}
    config = write_config(**{"data_root": str(data_root), "batch_size": 60, "data": data, **changes})
    one = losses(run(1, config, code=DOUBLE))
    assert len(one) == changes["epochs"]
    for processes in (2, 3):
        assert np.abs(losses(run(processes, config, code=DOUBLE)) / one - 1).max() < tolerance, processes


@pytest.mark.slow
def test_a_last_batch_that_can_be_shared_is_trained_on(write_config, run):
    """711 shapes make 5 batches of 132 and one of 51: 3 processes have 17 of it each, 2 lose one shape."""
    config = write_config(batch_size=132, epochs=1, data={"num_points": 64}, optim={"lr": 1e-5, "warmup_epochs": 0})
    one, two, three = (losses(run(processes, config)) for processes in (1, 2, 3))
    assert np.abs(three / one - 1).max() < 1e-5 < np.abs(two / one - 1).max()


@pytest.mark.slow
def test_several_processes_measure_what_one_does(write_config, run, tmp_path):
    """109 test objects, which neither 2 nor 3 processes share evenly: votes, zero-shot recognition, SVM."""
    sizes = {**SIZES, "num_groups": 16, "group_size": 16, "decoder_num_heads": 2, "drop_path": 0.0}
    data = {"num_points": 256, "augment": {"rotate_y": 180.0, "scale": [0.7, 1.4]}}
    optim = {"lr": 3e-3, "warmup_epochs": 2, "grad_clip": 10.0}
    config = write_config(batch_size=66, epochs=20, data=data, model=sizes, optim=optim, classifier={"head": "linear"})
    tuned = run(1, config, "task=classify", name="tuned") / "ckpt-last.pth"
    pretrained = run(1, config, name="pretrained") / "ckpt-last.pth"
    votes = ("task=classify", "epochs=0", "num_votes=3", f"init={tuned}")
    others = ("task=evaluate", "epochs=0", "evaluators={zero_shot: {}, svm: {}}", f"init={pretrained}")
    for kind, arguments in (("votes", votes), ("others", others), ("plain", (*votes, "num_votes=0"))):
        results, predictions = [], []
        for processes in (1, 2, 3):
            folder = run(processes, config, *arguments, name=f"{kind}{processes}")
            result = json.loads((folder / "result.json").read_text())
            results.append({key: value for key, value in result.items() if key != "seconds"})
            path = folder / ("predictions-zero_shot.npz" if kind == "others" else "predictions.npz")
            predictions.append({key: value.tolist() for key, value in np.load(path).items()})
        # Not all votes are one vote, and not all shapes one class, or this would say nothing.
        assert kind != "votes" or len(set(results[0]["vote_accuracies"])) > 1
        assert kind == "others" or len(set(predictions[0]["predictions"])) > 2
        assert results[0] == results[1] == results[2] and predictions[0] == predictions[1] == predictions[2]
        assert next(value for key, value in results[0].items() if key.endswith("num_objects")) == 109


@pytest.mark.slow
def test_several_processes_measure_the_part_iou_of_one(write_config, run, tmp_path):
    """109 objects of 8 categories, which neither 2 nor 3 processes share evenly, with and without votes."""
    write_parts(tmp_path / "data", {"train": 66, "val": 6, "test": 109})
    sizes = {**SIZES, "num_groups": 16, "decoder_num_heads": 2, "drop_path": 0.0}
    data = {"type": "ShapeNetPart", "num_points": 48, "options": {"num_points": 48}}
    data["augment"] = {"scale": [0.8, 1.25], "shift": 0.1}
    optim = {"lr": 3e-3, "warmup_epochs": 1, "grad_clip": 10.0}
    options = {"task": "segment", "batch_size": 36, "data_root": str(tmp_path / "data")}
    config = write_config(**options, epochs=12, data=data, model=sizes, optim=optim)
    trained = run(1, config, name="trained") / "ckpt-last.pth"
    for votes in (0, 3):
        results, tables = [], []
        for processes in (1, 2, 3):
            arguments = ("epochs=0", f"num_votes={votes}", f"init={trained}")
            folder = run(processes, config, *arguments, name=f"{votes}votes{processes}")
            result = json.loads((folder / "result.json").read_text())
            results.append({key: value for key, value in result.items() if key != "seconds"})
            tables.append(json.loads((folder / "part_iou.json").read_text()))
        assert results[0] == results[1] == results[2] and tables[0] == tables[1] == tables[2]
        assert results[0]["num_objects"] == len(tables[0]["objects"]) == 109 and len(tables[0]["categories"]) == 8
        # Neither all right nor all wrong, and most objects unlike the others, or this would say nothing.
        assert 0.1 < results[0]["instance_miou"] != results[0]["class_miou"] < 0.9
        assert len(set(tables[0]["objects"].values())) > 109 / 2


HOW = {
    "an error": ("raise ValueError('process one is unwell')", "ValueError: process one is unwell"),
    "a kill from outside": ("os.kill(os.getpid(), signal.SIGKILL)", "exitcode: -9"),
    "endless waiting": ("time.sleep(600)", "waited 5 s in vain for process 1; look"),
}


def launch_failing(how, config, *arguments, processes=3, timeout=5):
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={processes}"]
    program = config.parent / f"fail{free_port()}.py"
    program.write_text(FAIL.replace("{how}", how))
    command = [*launcher, f"--master_port={free_port()}", *arguments, str(program), "--config", str(config)]
    own = {"FAIL_RANK": "1", "RECON_TIMEOUT": str(timeout), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **own}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return process, program


@pytest.mark.slow
@pytest.mark.parametrize(("how", "message"), HOW.values(), ids=HOW.keys())
def test_a_failing_process_takes_the_others_along_and_has_the_first_word(write_config, data_root, how, message):
    config = write_config(data_root=str(data_root), batch_size=60, epochs=500, data={"num_points": 48})
    process, program = launch_failing(how, config)
    output = process.communicate(timeout=150)[0]
    assert process.returncode != 0 and message in output, output[-3000:]
    first = output.index(message)
    assert not any(f"[rank{other}]: Traceback" in output for other in (0, 2))
    assert "error: process" not in output[: first - 20]
    left = subprocess.run(["pgrep", "-f", program.name], capture_output=True, text=True, check=False).stdout
    assert not left.strip(), left


@pytest.mark.slow
def test_torchrun_starts_a_failed_run_again_and_it_goes_on(write_config, data_root, tmp_path):
    config = write_config(data_root=str(data_root), batch_size=60, epochs=4, data={"num_points": 48})
    how = HOW["a kill from outside"][0]
    process, program = launch_failing(how, config, "--max-restarts=1", processes=2, timeout=60)
    output = process.communicate(timeout=200)[0]
    assert process.returncode != 0 and "holds a run already" in output  # without --resume nothing is overwritten
    folder = tmp_path / "out" / "tiny" / "cfgs" / "again"
    command = [*process.args, "--exp_name", "again", "--resume"]
    command[command.index("--max-restarts=1") - 1] = f"--master_port={free_port()}"
    own = {"FAIL_RANK": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **own}, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "starts from the beginning" in done.stdout and "resumed after" in done.stdout
    assert (folder / "result.json").is_file() and len(losses(folder)) == 4


@pytest.mark.slow
def test_torchrun_trains_and_one_process_speaks(write_config, data_root, tmp_path):
    config = write_config(data_root=str(data_root), batch_size=8, data={"num_points": 48})
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"]
    command = [*launcher, "main.py", "--launcher", "pytorch", "--config", str(config), "task=classify", "epochs=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    folder = tmp_path / "out" / "tiny" / "cfgs" / "default"
    assert json.loads((folder / "result.json").read_text())["num_objects"] == 15
    assert done.stdout.count("epoch 1/2") == 1


@pytest.mark.slow
def test_a_run_killed_from_outside_goes_on(write_config, data_root, tmp_path):
    config = write_config(data_root=str(data_root), batch_size=8, data={"num_points": 48})
    command = [sys.executable, "main.py", "--config", str(config), "epochs=40", "save_every=1"]
    folder = tmp_path / "out" / "tiny" / "cfgs" / "default"
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not (folder / "ckpt-last.pth").is_file() and time.monotonic() < until:
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    step = torch.load(folder / "ckpt-last.pth", weights_only=True)["step"]
    assert 0 < step < 40 * 8 and not (folder / "result.json").exists()
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert again.returncode == 2 and "--resume" in again.stderr
    done = subprocess.run([*command, "--resume"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 and "resumed after" in done.stdout, done.stderr[-2000:]
    # 65 shapes make 8 steps an epoch: the last batch of one is left out.
    assert torch.load(folder / "ckpt-last.pth", weights_only=True)["step"] == 40 * 8
