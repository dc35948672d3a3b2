"""What the machine is at fault for ends a run with one sentence, nothing half-written and nobody left behind."""

import errno
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pointrecon.datasets import DATASETS
from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.tools.faults import explain, explained
from pointrecon.tools.tasks import TASKS
from pointrecon.tools.tasks.classify import ClassifyTask
from pointrecon.tools.training import runner
from pointrecon.utils.errors import InputError
from tests.soak.runs import ForkedRun

CFG = {"batch_size": 8, "accum_steps": 1, "precision": "fp32", "num_workers": 4, "output_root": "/"}
SIZES = {"embed_dim": 24, "depth": 1, "num_heads": 2, "num_groups": 8, "group_size": 4}
OPTIONS = {"task": "classify", "epochs": 3, "batch_size": 8, "save_every": 2, "device": "cpu", "figures": False}


@DATASETS.register()
class OneFileEach(PointCloudDataset):
    """40 shapes, each in a file of its own that is read when it is wanted."""

    is_uniform = True

    def __init__(self, root, split="train"):
        self.folder = Path(root)
        ids = [f"shape{row}" for row in range(40)]
        super().__init__(ids=ids, labels=torch.arange(40) % 2, split_of=[split] * 40, class_names=["a", "b"])

    def read(self, row):
        return self.sample(row, torch.from_numpy(np.load(self.folder / f"shape{row}.npy")))


@pytest.fixture
def start(tmp_path):
    """start(fault, step, *arguments): main.py in a child that calls fault() before a step; (code, output, folder)."""
    root, config = tmp_path / "files", tmp_path / "cfgs" / "tiny.yaml"
    for path in (root, config.parent):
        path.mkdir()
    random = np.random.RandomState(0)
    for row in range(40):
        np.save(root / f"shape{row}.npy", random.randn(64, 3).astype(np.float32))
    TASKS.get("classify")

    def run(fault, step, *arguments, out=tmp_path / "out"):
        data = {"type": "OneFileEach", "num_points": 48}
        config.write_text(yaml.dump({**OPTIONS, "model": SIZES, "data": data, "data_root": str(root)}))

        def prepare():
            original = runner.Runner.train_step

            def train_step(self, *rest):
                if self.state.step == step:
                    self.writer.wait()
                    fault()
                original(self, *rest)

            runner.Runner.train_step = train_step

        log = tmp_path / "printed.txt"
        child = ForkedRun(["--config", str(config), f"output_root={out}", *arguments], log, prepare=prepare)
        code, folder = child.wait(), Path(out) / "tiny" / "cfgs" / "default"
        assert not child.has_left_processes()
        return code, log.read_text(), folder

    run.root = root
    return run


def check(code, output, folder, step):
    """Exit code 2 and one sentence; no traceback; nothing half-written; the last checkpoint is whole."""
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(errors) == 1 and "Traceback" not in output, output
    assert output.rstrip().endswith(errors[0]), output
    assert not list(folder.glob(".*.tmp.*"))
    assert torch.load(folder / "ckpt-last.pth", weights_only=True)["step"] == step
    assert not (folder / "result.json").exists()
    return errors[0]


def test_a_disk_with_a_limit(start):
    def fault():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    error = check(*start(fault, 4), 4)
    assert "cannot write" in error and "ckpt-last.pth': file too large" in error and "make room" in error


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 20 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("mounting needs rights that this process has not")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("left", [0, 200_000], ids=["nothing is left", "too little is left"])
def test_a_full_disk(start, small_disk, left):
    def fault():
        filling = small_disk / "filling"
        with pytest.raises(OSError), open(filling, "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        os.truncate(filling, filling.stat().st_size - left)

    error = check(*start(fault, 4, out=small_disk), 4)
    assert "no space left on device (0 MB are free)" in error and "make room" in error


def test_a_folder_that_becomes_read_only(start):
    """Root may write everywhere, so the system's answer is given by hand."""

    def fault():
        original = os.replace

        def replace(source, target):
            if "ckpt-" in str(target):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(target))
            return original(source, target)

        os.replace = replace

    error = check(*start(fault, 4), 4)
    assert "ckpt-last.pth': read-only file system" in error and "another folder" in error


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_file_that_vanishes(start, num_workers):
    def fault():
        for path in start.root.glob("*.npy"):
            path.unlink()

    code, output, folder = start(fault, 2, f"num_workers={num_workers}")
    step = torch.load(folder / "ckpt-last.pth", weights_only=True)["step"]  # some batches may have been read before
    error = check(code, output, folder, step)
    assert step >= 2 and "has gone" in error and ".npy" in error and "--resume" in error


def test_a_loading_process_that_is_killed(start):
    def fault():
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        time.sleep(0.5)  # until the system has told

    error = check(*start(fault, 3, "num_workers=2"), 2)
    assert "a process that loads data (pid " in error and "killed by signal: Killed" in error
    assert "num_workers=1" in error


def test_no_memory(start):
    def fault():
        ClassifyTask.training_step = lambda self, batch: torch.empty(1 << 60)

    error = check(*start(fault, 2), 2)
    assert "out of memory" in error
    assert "batch_size=8, accum_steps=1 and precision=fp32; give batch_size=4 accum_steps=2" in error


def test_no_memory_on_a_gpu_says_how_much_was_asked_for():
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has ...")
    text = explain(error, {**CFG, "precision": "bf16"})
    assert text.startswith("out of memory on the GPU (it asked for 2.50 GiB) with batch_size=8")
    assert "precision=bf16; give batch_size=4 accum_steps=2 (the same step in smaller parts), and" in text
    assert "out of memory with" in explain(MemoryError(), CFG)


def test_mistakes_that_a_loading_process_passes_on_are_told_as_they_are():
    trace = "Caught InputError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File\n"
    error = InputError(f"{trace}utils.errors.InputError: 'x.npy' is damaged\n")
    assert explain(error, CFG) == "'x.npy' is damaged"
    with pytest.raises(InputError, match="^as it is$"), explained(CFG):
        raise InputError("as it is")


def test_our_own_mistakes_pass():
    for error in (ZeroDivisionError(), RuntimeError("shapes do not fit"), OSError(errno.EPERM, "no")):
        with pytest.raises(type(error)), explained(CFG):
            raise error
