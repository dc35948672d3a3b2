"""Parts of the soak test in which a run goes on in other processes: those that torchrun starts again, fewer, or more.

Both train the bundled shapes with the smallest network over the loopback device.
"""

import contextlib
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pointrecon.tools.checkpoints.snapshot import LAST, read_last
from pointrecon.tools.environment import ROOT
from tests.soak.runs import TINY, free_port

CONFIG = ("--config", "cfgs/quickstart/pretrain.yaml")
PATIENCE = 240.0  # seconds in which a run must come to its next state, on a busy machine
MAX_KILLS = 3  # a run
# How torchrun finds its processes -> options of each agent; {port} is one that is free.
KINDS = {
    "static": [["--nproc_per_node=2", "--master_port={port}"]],
    "standalone": [["--nproc_per_node=2", "--standalone"]],
    "two agents": [
        ["--nnodes=2", "--nproc_per_node=1", "--rdzv_backend=c10d", "--rdzv_endpoint=127.0.0.1:{port}"]
        + ["--rdzv_id=soak", "--local_addr=127.0.0.1"]
    ]
    * 2,
}
# As scripts/slurm.sh sets it: agents that do not count restarts together need a store for each attempt.
OWN_STORES = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


class RestartedRun:
    """A run that torchrun starts again when one of its processes dies; none is left behind.

    Args:
        kind: of `KINDS`.
        folder: of the run's output.
    """

    def __init__(self, kind: str, folder: Path) -> None:
        self.folder, self.log = folder / "pretrain" / "quickstart" / "run", folder / "log"
        folder.mkdir(parents=True)
        options = [*CONFIG, *TINY, "epochs=100000", "save_every=5", "--exp_name", "run", f"output_root={folder}"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "RECON_TIMEOUT": "60"}
        environment |= OWN_STORES if len(KINDS[kind]) > 1 else {}
        launcher = [sys.executable, "-m", "torch.distributed.run", f"--max-restarts={MAX_KILLS}"]
        port = str(free_port())
        self._output = self.log.open("w")
        self.agents = [
            subprocess.Popen(
                [*launcher, *(option.replace("{port}", port) for option in agent), "main.py", *options, "--resume"],
                cwd=ROOT,
                env=environment,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            for agent in KINDS[kind]
        ]

    def workers(self) -> list[int]:
        """Processes that the agents have started and that run now, by number."""
        found = []
        for agent in self.agents:
            with contextlib.suppress(OSError):
                children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
                found += [int(pid) for pid in children if "main.py" in _command(int(pid))]
        return found

    def step(self) -> int:
        """After how many steps the run would go on; 0 without a checkpoint."""
        return read_last(self.folder, _SILENT)["step"] if (self.folder / LAST).is_file() else 0

    def text(self) -> str:
        """What all processes have printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, what: str, is_so: Callable[[], bool]) -> None:
        """Waits until something is so.

        Raises:
            RuntimeError: It is not within `PATIENCE`, or torchrun has ended before.
        """
        until = time.monotonic() + PATIENCE
        while not is_so():
            if any(agent.poll() is not None for agent in self.agents):
                raise RuntimeError(f"torchrun ended before {what}: {self.text()[-1500:]}")
            if time.monotonic() > until:
                raise RuntimeError(f"no {what} within {PATIENCE:.0f} s: {self.text()[-1500:]}")
            time.sleep(0.1)

    def close(self) -> None:
        """Ends what is left of it."""
        workers = self.workers()
        for pid in (*workers, *(agent.pid for agent in self.agents if agent.poll() is None)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for agent in self.agents:
            agent.wait()
        self._output.close()


class _Silent:
    def warning(self, *_: object) -> None:
        """A file that is being replaced is read by its other name, which need not be told."""


_SILENT: Any = _Silent()


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


@contextlib.contextmanager
def _started(kind: str, folder: Path) -> Iterator[RestartedRun]:
    run = RestartedRun(kind, folder)
    try:
        yield run
    finally:
        run.close()


def kill_and_stop(kind: str, folder: Path, draw: random.Random, num_kills: int) -> tuple[int, str | None]:
    """A run of which processes are killed, each at a random moment, and that is asked to stop in the end.

    Returns:
        How often it came up again, and what was wrong, if anything.
    """
    restarts = 0
    with _started(kind, folder) as run:
        try:
            for _ in range(num_kills):
                run.wait_for("its processes", lambda: len(run.workers()) == 2)
                if draw.random() < 0.75:  # otherwise before they have found each other, or the run has saved
                    before = run.step()
                    run.wait_for("checkpoint", lambda before=before: run.step() > before)
                time.sleep(draw.uniform(0, 2))
                victims = run.workers()
                os.kill(draw.choice(victims), signal.SIGKILL)
                run.wait_for("restart", lambda old=victims: len(set(run.workers()) - set(old)) == 2)
                at = run.step()
                run.wait_for("further checkpoint", lambda at=at: run.step() > at)
                restarts += 1
            time.sleep(draw.uniform(0, 1))
            for agent in run.agents:
                agent.terminate()
            for agent in run.agents:
                agent.wait(PATIENCE)
        except (RuntimeError, subprocess.TimeoutExpired, IndexError) as error:
            return restarts, str(error)
        said = re.findall(r"asked to stop: saved after step (\d+)", run.text())
        if not said or int(said[-1]) != run.step():
            return restarts, f"SIGTERM has not saved: {said}, step {run.step()}; {run.text()[-1500:]}"
    return restarts, None


def restarts(count: int, seconds: float, seed: int, folder: Path, log: Callable[[str], None]) -> dict[str, Any]:
    """torchrun starts killed processes again, and SIGTERM afterwards saves.

    Args:
        count: restarts of each of `KINDS`.
        seconds: after which no new run is started in a kind.
        seed: of the moments.
        folder: for the runs.
        log: gets a line after each run.
    """
    draw, kinds, failures = random.Random(seed), {}, []
    for kind in KINDS:
        until = time.monotonic() + seconds
        found = {"asked": count, "kills": 0, "restarts": 0, "runs": 0, "saved": 0}
        while found["kills"] < count and time.monotonic() < until:
            num_kills = min(draw.randint(1, MAX_KILLS), count - found["kills"])
            came_up, problem = kill_and_stop(kind, folder / f"{kind} {found['runs']}", draw, num_kills)
            found["runs"] += 1
            found["kills"] += came_up + (came_up < num_kills)
            found["restarts"] += came_up
            found["saved"] += problem is None
            failures += [f"{kind}, run {found['runs']}: {problem}"] if problem else []
            log(f"{kind}: {found}")
        kinds[kind] = found
    return {"kinds": kinds, "failures": failures}


def check_epochs(folder: Path, num_epochs: int) -> str | None:
    """Says what is wrong with the epochs of a finished run: each is there once and has its steps."""
    records = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    steps = [(record["epoch"], record["step"]) for record in records if record["split"] == "train"]
    size = steps[0][1] if steps else 0
    if steps != [(epoch, epoch * size) for epoch in range(1, num_epochs + 1)]:
        return f"epochs and steps are {steps}"
    return None if (folder / "result.json").is_file() else "there is no result.json"


def resizes(
    count: int, seconds: float, seed: int, launch: Callable[..., Any], folder: Path, start: Callable[[Path], str]
) -> dict[str, Any]:
    """A run is killed and goes on with another number of processes, 1, 2 and 3 into each other.

    Args:
        count: runs.
        seconds: after which no new run is started.
        seed: of the moments.
        launch: `Soak.launch`.
        folder: of the runs.
        start: with what option a run is started again, given its folder.
    """
    draw, until, failures, done = random.Random(seed), time.monotonic() + seconds, [], 0
    pairs: Sequence[tuple[int, int]] = list(itertools.permutations((1, 2, 3), 2))
    counts = {f"{before} to {after}": 0 for before, after in pairs}
    num_epochs, last = 3, 34  # the run has 36 steps
    arguments, batch = (*CONFIG, f"epochs={num_epochs}", "save_every=2"), "batch_size=60"
    while done < count and time.monotonic() < until:
        before, after = pairs[done % len(pairs)]
        name = f"resized{done}"
        with launch(arguments, name, batch, world_size=before) as runs:
            runs[0].wait_for_step(draw.randint(3, last))
            time.sleep(draw.uniform(0, 0.05))
            for run in runs:
                run.kill()
        with launch(arguments, name, batch, start(folder / name), world_size=after) as runs:
            codes = [run.wait() for run in runs]
        problem = f"exit codes {codes}" if any(codes) else check_epochs(folder / name, num_epochs)
        if problem:
            failures.append(f"run {done}, {before} to {after} processes: {problem}")
        counts[f"{before} to {after}"] += problem is None
        done += 1
    return {"runs": done, "asked": count, "went_on": sum(counts.values()), "by_processes": counts, "failures": failures}
