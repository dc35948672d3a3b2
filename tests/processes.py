"""Code in several real processes, connected over gloo as torchrun would."""

import multiprocessing
import os
import socket
import tempfile
import time
from pathlib import Path

from tests import ROOT

# What a run imports sooner or later, which takes longer than the run of a tiny network. Children are forked from a
# server that has it already (see conftest.py).
WARM = ("pytest", "torch", "torch._inductor", "sklearn.svm", "sklearn.model_selection", "tests.processes")
WARM += tuple(f"pointrecon.tools.tasks.{name}" for name in ("pretrain", "classify", "segment", "evaluate"))
WARM += ("pointrecon.tools.training.runner", "pointrecon.extensions.backends.triton")


def free_port() -> str:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def run_in_processes(
    code: str, count: int = 2, timeout: float = 200, *, may_fail: bool = False, **environment: str
) -> list[str]:
    """Runs a program in each of several processes and returns what they wrote; they must all end, and end well."""
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "OMP_NUM_THREADS": "1"}
    shared |= {"WORLD_SIZE": str(count)} if count > 1 else {}
    shared |= environment
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([])
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder) / f"{rank}.txt" for rank in range(count)]
        places = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} if count > 1 else {} for rank in range(count)]
        workers = [
            context.Process(target=_work, args=(code, shared | place, log))
            for place, log in zip(places, logs, strict=True)
        ]
        until = time.monotonic() + timeout
        try:
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join(max(until - time.monotonic(), 0))
            codes = [worker.exitcode for worker in workers]
        finally:
            for worker in filter(lambda worker: worker.pid, workers):
                worker.kill()
                worker.join()
        outputs = [log.read_text() if log.is_file() else "" for log in logs]
    told = "\n".join(output[-3000:] for output in outputs)
    assert None not in codes, f"not done after {timeout} s\n{told}"
    assert may_fail or not any(codes), f"exit codes {codes}\n{told}"
    return outputs


def _work(code: str, environment: dict[str, str], log: Path) -> None:
    """Is what `python -c CODE` would be in the root folder, but for the imports that have been made."""
    import torch

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    torch.set_num_threads(1)
    exec(compile(code, "<program>", "exec"), {"__name__": "__main__"})
