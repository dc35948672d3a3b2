"""The Slurm script, with an srun and an scontrol that run everything here."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
import yaml

from tests import ROOT

SCRIPT = ROOT / "scripts" / "slurm.sh"
SRUN = '#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"\n'
SCONTROL = '#!/bin/sh\nif [ "$1" = show ]; then echo localhost; else echo "$@" >> "$REQUEUED"; fi\n'
SIZES = {"embed_dim": 24, "depth": 1, "num_heads": 2, "num_groups": 8, "group_size": 4, "decoder_depth": 1}


def environment(tmp_path, **changes):
    for name, content in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": sys.executable, "REQUEUED": str(tmp_path / "requeued")}
    job = {
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "n[1-2]",
        "SLURM_SUBMIT_DIR": str(ROOT),
        "SLURM_JOB_NUM_NODES": "1",
    }
    return {**os.environ, **own, **job, "NPROC": "2", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1", **changes}


def test_it_wants_a_config_and_a_job(tmp_path):
    given = environment(tmp_path)
    done = subprocess.run(["bash", str(SCRIPT)], env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("usage: sbatch")
    del given["SLURM_JOB_ID"]
    done = subprocess.run(
        ["bash", str(SCRIPT), "--config", "x"], env=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "no Slurm job" in done.stderr


def test_what_it_starts(tmp_path):
    given = environment(tmp_path, PYTHON="echo", SLURM_JOB_NUM_NODES="3", SLURM_RESTART_COUNT="2", MASTER_PORT="")
    done = subprocess.run(
        ["bash", str(SCRIPT), "--config", "c.yaml", "epochs=3"], env=given, capture_output=True, text=True, check=False
    )
    assert (
        done.returncode == 0
        and done.stdout.split()
        == (
            "-m torch.distributed.run --nnodes=3 --nproc_per_node=2 --max-restarts=1 --rdzv_backend=c10d --rdzv_id=7-2 "
            "--rdzv_endpoint=localhost:20007 main.py --config c.yaml epochs=3 --resume"
        ).split()
    )


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing():
    done = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_each_attempt_has_a_store_of_its_own_and_a_first_start_needs_no_checkpoint(tmp_path):
    """Also without restarts by torchrun, since Slurm runs the same command again."""
    (tmp_path / "python").write_text("#!/bin/sh\nenv\n")
    (tmp_path / "python").chmod(0o755)
    given = environment(tmp_path, PYTHON=str(tmp_path / "python"), MAX_RESTARTS="0")
    command = ["bash", str(SCRIPT), "--config", "c.yaml"]
    told = subprocess.run(command, env=given, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1", "RECON_REQUEUED=1"} <= set(told)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_job_that_is_stopped_is_queued_again_and_goes_on(tmp_path, number):
    config = tmp_path / "cfgs" / "tiny.yaml"
    config.parent.mkdir()
    options = {"device": "cpu", "figures": False, "batch_size": 64, "epochs": 30, "output_root": str(tmp_path / "out")}
    sizes = {**SIZES, "decoder_num_heads": 2}
    config.write_text(yaml.dump({**options, "data": {"num_points": 64}, "model": sizes}))
    command = ["bash", str(SCRIPT), "--config", str(config)]
    folder = tmp_path / "out" / "tiny" / "cfgs" / "default"
    job = subprocess.Popen(
        command,
        env=environment(tmp_path, MAX_RESTARTS="0"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until = time.monotonic() + 120
    while not (folder / "ckpt-last.pth").is_file() and time.monotonic() < until:
        time.sleep(0.1)
    job.send_signal(number)
    output = job.communicate(timeout=60)[0]
    assert job.returncode != 0 and "saved after step" in output and "queued again" in output, output[-3000:]
    assert (tmp_path / "requeued").read_text() == "requeue 7\n" and not (folder / "result.json").exists()
    again = environment(tmp_path, SLURM_RESTART_COUNT="1")
    done = subprocess.run(command, env=again, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0 and "resumed after" in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]
    assert (folder / "result.json").is_file()
