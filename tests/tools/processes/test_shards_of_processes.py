"""cfgs/pretrain/shards.yaml under torchrun: two processes read what scripts/prepare_data.py shards has written."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml

from pointrecon.datasets.shards.shards import Shards
from tests import ROOT
from tests.soak.runs import TINY, digest, free_port

NUM_SAMPLES, SHARD_SIZE, EPOCHS, BATCH, STEPS = 65, 5, 2, 8, 8
# main.py that notes what each process trains on, and in which one process is killed in a step if it is told so.
WATCHED = """
import json, os, signal, sys
from pathlib import Path
import main
from pointrecon.tools.training.runner import Runner
rank, original = os.environ["RANK"], Runner.read_batches
def read_batches(self):
    group = original(self)
    record = {"step": self.state.step, "ids": [key for batch in group for key in batch["id"]]}
    with open(Path(os.environ["SEEN"]) / f"{rank}.jsonl", "a") as file:
        file.write(json.dumps(record) + "\\n")
    if rank == "1" and str(self.state.step) == os.environ.get("KILL_AT"):
        os.kill(os.getpid(), signal.SIGKILL)
    return group
Runner.read_batches = read_batches
sys.exit(main.main())
"""


@pytest.fixture
def shards(tmp_path, data_root):
    """A data root with the shards, made by the program."""
    config = tmp_path / "tiny.yaml"
    config.write_text(
        yaml.dump({"task": "pretrain", "device": "cpu", "data_root": str(data_root), "data": {"num_points": 48}})
    )
    command = [sys.executable, "scripts/prepare_data.py", "shards", "--config", str(config)]
    command += ["--out", str(tmp_path / "shards")]
    done = subprocess.run([*command, "--shard_size", str(SHARD_SIZE)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and f"pretrain: {NUM_SAMPLES} samples" in done.stdout, done.stderr
    return tmp_path


@pytest.fixture
def train(tmp_path, shards):
    """train(name, *arguments, **environment) is a run over two processes: (how it ended, its folder, what was seen)."""
    program = tmp_path / "watched.py"
    program.write_text(WATCHED)

    def train(name, *arguments, **environment):
        seen = tmp_path / f"seen-{name}-{len(arguments)}"
        seen.mkdir()
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"]
        options = [*TINY, f"data_root={shards}", f"output_root={tmp_path}", "data.options.num_lanes=2"]
        options += [f"batch_size={BATCH}", f"epochs={EPOCHS}", "num_workers=1", "save_every=3", "data.options.buffer=7"]
        command = [*launcher, str(program), "--launcher", "pytorch", "--config", "cfgs/pretrain/shards.yaml"]
        own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "SEEN": str(seen), **environment}
        done = subprocess.run(
            [*command, "--exp_name", name, *options, *arguments],
            cwd=ROOT,
            env={**os.environ, **own},
            capture_output=True,
            text=True,
            timeout=300,
        )
        return done, tmp_path / "shards" / "pretrain" / name, [read_seen(seen / f"{rank}.jsonl") for rank in (0, 1)]

    return train


def read_seen(path):
    """{step: ids} of a process."""
    records = map(json.loads, path.read_text().splitlines())
    return {record["step"]: record["ids"] for record in records}


@pytest.mark.slow
def test_two_processes_train_from_shards_and_go_on_after_a_kill(train, shards):
    done, whole, seen = train("whole")
    assert done.returncode == 0 and (whole / "result.json").is_file(), done.stderr[-3000:]
    dataset = Shards(str(shards))
    shard_of = dict(zip(dataset.ids, np.repeat(np.arange(len(dataset.counts)), dataset.counts), strict=True))
    orders = []
    for epoch in range(EPOCHS):
        steps = range(epoch * STEPS, (epoch + 1) * STEPS)
        ids = [[key for step in steps for key in process[step]] for process in seen]
        # Each sample once, but for the one that two processes cannot share.
        assert len(ids[0]) == len(ids[1]) == NUM_SAMPLES // 2 and len({*ids[0], *ids[1]}) == NUM_SAMPLES - 1
        first, second = ({shard_of[key] for key in part} for part in ids)
        # They read different shards, but for the one in the middle of the epoch, of which each has a part.
        assert len(first) == len(second) == 7 and len(first & second) == 1
        orders.append(ids)
    assert [process.keys() for process in seen] == [set(range(EPOCHS * STEPS))] * 2 and orders[0] != orders[1]

    done, killed, before = train("killed", KILL_AT="12")
    assert done.returncode != 0 and "exitcode: -9" in done.stderr and not (killed / "result.json").exists()
    saved = torch.load(killed / "ckpt-last.pth", weights_only=True)["step"]
    assert saved in (9, 12) and before[1] == {step: seen[1][step] for step in range(13)}
    done, _, after = train("killed", "--resume")
    assert done.returncode == 0 and f"resumed after epoch 1, step {saved}" in done.stdout, done.stderr[-3000:]
    assert after == [{step: process[step] for step in range(saved, EPOCHS * STEPS)} for process in seen]
    assert digest(killed) == digest(whole)
