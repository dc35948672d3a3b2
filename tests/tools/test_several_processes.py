"""Real processes: torchrun on two of them, and a run that is killed from outside and goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

ROOT = Path(__file__).parents[2]
SIZES = {"embed_dim": 24, "depth": 1, "num_heads": 2, "num_groups": 8, "group_size": 4, "decoder_depth": 1}
pytestmark = pytest.mark.slow


@pytest.fixture
def config(tmp_path, data_root):
    path = tmp_path / "cfgs" / "tiny.yaml"
    path.parent.mkdir()
    options = {"device": "cpu", "figures": False, "data_root": str(data_root), "output_root": str(tmp_path / "out")}
    sizes = {**SIZES, "decoder_num_heads": 2}
    path.write_text(yaml.dump({**options, "batch_size": 8, "data": {"num_points": 48}, "model": sizes}))
    return path


def test_two_processes_train_and_count_every_object_once(config, tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29517"]
    arguments = ["main.py", "--launcher", "pytorch", "--config", str(config), "task=classify", "epochs=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*launcher, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    folder = tmp_path / "out" / "tiny" / "cfgs" / "default"
    assert json.loads((folder / "result.json").read_text())["num_objects"] == 15
    assert done.stdout.count("epoch 1/2") == 1  # one process speaks


def test_a_run_killed_from_outside_goes_on(config, tmp_path):
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
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert again.returncode == 2 and "--resume" in again.stderr
    done = subprocess.run([*command, "--resume"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "resumed after" in done.stdout, done.stderr[-2000:]
    # 65 shapes make 8 steps an epoch: the last batch of one is left out.
    assert torch.load(folder / "ckpt-last.pth", weights_only=True)["step"] == 40 * 8
