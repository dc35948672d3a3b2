"""Connecting processes: launchers that do not, stores that outlive an attempt or do not answer."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import torch.distributed as dist

from pointrecon.utils.errors import InputError
from pointrecon.utils.processes import connection
from tests import ROOT
from tests.processes import run_in_processes

STEP = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "1"}
NAMES = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT")
NAMES += ("SLURM_STEP_ID", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "OMPI_COMM_WORLD_RANK", "PMI_RANK")


@pytest.fixture
def alone(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(
    "environment",
    [
        {**STEP, "SLURM_NTASKS": "3"},
        {**STEP, "SLURM_STEP_NUM_TASKS": "3", "SLURM_NTASKS": "1"},
        {"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "3"},
        {"PMI_RANK": "0", "PMI_SIZE": "3"},
    ],
)
def test_several_tasks_that_nothing_connects_are_refused(alone, monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="has started 3 tasks, but they do not know each other.*torchrun"):
        connection.check_launch()
    monkeypatch.setenv("WORLD_SIZE", "3")  # torchrun in a step
    connection.check_launch()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {**STEP, "SLURM_NTASKS": "1"},
        {**STEP, "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "3"},
        {"SLURM_NTASKS": "3", "SLURM_PROCID": "0"},  # a batch script
        {"SLURM_NTASKS": "3", "SLURM_PROCID": "0", "SLURM_STEP_ID": "4294967291"},  # the same, with its number
    ],
)
def test_one_task_may_start(alone, monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    connection.check_launch()


def test_who_is_run_again(alone, monkeypatch):
    monkeypatch.delenv(connection.REQUEUED, raising=False)
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "0")
    assert not connection.is_restarted()
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "1")
    assert connection.is_restarted()
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "0")
    monkeypatch.setenv(connection.REQUEUED, "1")
    assert connection.is_restarted()


WORKER = """
import os
from pointrecon.utils.processes import connection, distributed
connection.init("cpu")
assert distributed.all_gather_objects(distributed.rank()) == [0, 1]
assert not connection.has_failed(), "of the attempt before"
distributed.barrier()
if os.environ["FAILS"] == "True":
    connection._note(connection._FAILED)
    assert connection.has_failed()
print("connected", flush=True)
"""


@pytest.mark.parametrize("agents", ["1", "2"])
def test_an_attempt_finds_nothing_of_the_one_before_in_a_store_that_both_have(agents):
    """As torchrun keeps it: one store for all attempts. With two agents, the note of a failure alone is removed."""
    store = dist.TCPStore("127.0.0.1", free_port(), is_master=True, wait_for_workers=False)
    for key in ("default_pg/0/cpu//0/rank_0", "default_pg/0//cpu//0/0/0"):
        store.set(key, "an address of the dead")
    shared = {"MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True", "GROUP_WORLD_SIZE": agents}
    for attempt in range(2 if agents == "1" else 1):
        if agents == "2":  # what an attempt before may have noted
            dist.PrefixStore("default_pg", store).set(connection._FAILED, "1")
        own = {"TORCHELASTIC_RESTART_COUNT": f"{attempt}", "FAILS": f"{attempt == 0}", "RECON_TIMEOUT": "60"}
        assert all("connected" in output for output in run_in_processes(WORKER, **shared, **own))


def test_gloo_that_cannot_connect_is_one_sentence(alone, monkeypatch):
    own = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in own.items():
        monkeypatch.setenv(name, value)

    def fail(*_, **__):
        raise RuntimeError("Gloo connectFullMesh failed with [x] Connection refused\nmore")

    monkeypatch.setattr(dist, "init_process_group", fail)
    with pytest.raises(InputError, match=r"2 processes could not be connected at .*\(Gloo connectFullMesh .*refused\)"):
        connection.init("cpu")


class Silent:
    """A store whose process has been stopped: no call ever comes back."""

    def __init__(self):
        self.end = threading.Event()

    def check(self, keys):
        self.end.wait(60)

    def set(self, key, value):
        self.end.wait(60)


def test_a_store_that_does_not_answer_is_not_waited_for(monkeypatch):
    store = Silent()
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(connection, "_store", lambda: store)
    monkeypatch.setattr(connection, "STORE_TIMEOUT", 0.2)
    monkeypatch.setattr(connection, "GRACE", 0.1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    start = time.monotonic()
    assert connection.has_failed()
    with pytest.raises(SystemExit, match="waited .* in vain for another process"):
        connection.cleanup(RuntimeError("[gloo/x.cc:1] Timed out waiting 15000ms for recv operation to complete"))
    assert time.monotonic() - start < 5
    store.end.set()


STOPPED = """
import os, signal, sys, time
import torch
from pointrecon.utils.processes import connection, distributed
connection.init("cpu")
distributed.barrier()
print("connected", flush=True)
if distributed.rank() == 0:
    os.kill(os.getpid(), signal.SIGSTOP)
try:
    distributed.all_reduce_sum(torch.ones(1))
except RuntimeError as error:
    connection.cleanup(error)
"""


@pytest.mark.slow
def test_with_the_keeper_of_the_store_stopped_the_others_end():
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "RECON_TIMEOUT": "5"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", STOPPED],
            cwd=ROOT,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        assert workers[1].stdout.readline().strip() == "connected"
        start = time.monotonic()
        output = workers[1].communicate(timeout=100)[0]
        assert "waited 5 s in vain for" in output and time.monotonic() - start < 40, output
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
