"""Values that all processes must have, compared by two real ones."""

import os
import socket
import subprocess
import sys

import pytest

from pointrecon.utils.processes.agreement import check_alike
from tests import ROOT

WORKER = """
import sys
from pointrecon.utils.errors import InputError
from pointrecon.utils.processes import connection, distributed
from pointrecon.utils.processes.agreement import check_alike
from pointrecon.utils.processes.connection import PeerError
connection.init("cpu")
values = {"seed": 0, "data.fold": None, "optim.lr": 1e-3, **eval(sys.argv[1])}
try:
    check_alike(values)
    print("alike")
except (InputError, PeerError) as error:
    print(type(error).__name__, error)
distributed.barrier()
"""


def run(*values):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": str(len(values)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, repr(own)],
            cwd=ROOT,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank, own in enumerate(values)
    ]
    return [worker.communicate(timeout=100)[0].strip() for worker in workers]


def test_alike():
    assert run({}, {}) == ["alike", "alike"]
    check_alike({"seed": 0})  # alone


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"seed": 1}, "seed is 0 in process 0 and 1 in process 1;"),
        ({"data.fold": 3, "seed": 2}, "data.fold is None in process 0 and 3 in process 1; seed is 0"),
        ({"more": "x"}, "more is not there in process 0 and 'x' in process 1;"),
    ],
)
def test_the_main_process_names_what_differs(own, words):
    main, other = run({}, own)
    assert main.startswith("InputError the 2 processes are not of one run: ") and words in main
    assert other.startswith("PeerError")
