"""Code in several real processes, connected over gloo as torchrun would."""

import os
import socket
import subprocess
import sys

from tests import ROOT


def free_port() -> str:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def run_in_processes(code: str, count: int = 2, timeout: float = 200, *, may_fail: bool = False) -> list[str]:
    """Runs a program in each of several processes and returns what they wrote; they must all end, and end well."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "OMP_NUM_THREADS": "1"}
    shared = {"WORLD_SIZE": str(count), **place} if count > 1 else place
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, **shared, **({"RANK": str(rank), "LOCAL_RANK": str(rank)} if count > 1 else {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        outputs = [worker.communicate(timeout=timeout)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert may_fail or not any(worker.returncode for worker in workers), "\n".join(output[-3000:] for output in outputs)
    return outputs
