"""`scripts/soak.sh`: kills runs at random, many times, and looks whether anything was lost; writes one JSON.

Every part is bounded in count and in time, needs no network but the loopback device, and cleans up after itself.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from logging import Logger
from pathlib import Path
from typing import Any

import torch

from pointrecon.tools.checkpoints.snapshot import LAST, read_last, save_last
from pointrecon.tools.checkpoints.writer import CheckpointWriter
from pointrecon.tools.context import run_folder
from pointrecon.tools.environment import ROOT, describe_environment
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import write_json
from pointrecon.utils.log import close_logger, make_logger
from pointrecon.utils.program import Parser
from tests.soak import restarts
from tests.soak.miniature_parts import write_parts
from tests.soak.runs import TINY, digest, forked

FULL = {"runs": 70, "saves": 50, "steps": 10_000, "fuzz": 10_000, "restarts": 50, "resizes": 30}
SHORT = {"runs": 7, "saves": 3, "steps": 300, "fuzz": 100, "restarts": 1, "resizes": 6}
PARTS = ("runs", "saves", "memory", "processes", "fuzz", "restarts", "resizes")
PROCESS_TESTS = ("tests/tools/processes",)
TOLERANCE = 0.02  # by how much memory may differ
# Part segmentation has a miniature beside the runs, of which each item's points are drawn anew.
SEGMENT = ("--config", "cfgs/partseg/scratch_shapenetpart.yaml", "data_root={folder}/data")
SEGMENT += ("data.options.num_points=48", "epochs=3")
NUM_PARTS_OBJECTS = {"train": 320, "val": 64, "test": 45}
# Configs, what they train with, and processes; a run of each lasts about a second.
VARIANTS = [
    (("--config", "cfgs/quickstart/pretrain.yaml", "epochs=2", "save_every=4", "model.drop_path=0.1"), 1),
    (("--config", "cfgs/quickstart/pretrain.yaml", "epochs=3", "save_every=1", "accum_steps=2"), 1),
    (("--config", "cfgs/quickstart/scratch.yaml", "epochs=2", "select=val", "save_every=3"), 1),
    (("--config", "cfgs/quickstart/pretrain.yaml", "epochs=2", "save_every=3", "num_workers=2"), 1),
    (("--config", "cfgs/quickstart/pretrain.yaml", "epochs=2", "save_every=3", "accum_steps=2"), 2),
    ((*SEGMENT, "select=val", "save_every=2"), 1),
    ((*SEGMENT, "accum_steps=2", "save_every=1"), 2),
]


class Soak:
    """The parts, each of which returns what belongs into the JSON, `failures` (a list of sentences) among it.

    Args:
        counts: how often, by part; see `FULL`.
        seconds: after which no new run is started in a part.
        seed: of the moments at which is killed.
        folder: for the runs.
        logger: gets a line now and then.
    """

    def __init__(self, counts: dict[str, int], seconds: float, seed: int, folder: Path, logger: Logger) -> None:
        self.counts, self.seconds, self.folder, self.logger = counts, seconds, folder, logger
        self.random, self.seed = random.Random(seed), seed

    def run_folder(self, arguments: Sequence[str], name: str) -> Path:
        """Where a run of `launch` is."""
        return run_folder(self.folder, arguments[1], name)

    def launch(self, arguments: Sequence[str], name: str, *more: str, world_size: int = 1) -> Any:
        """The processes of a run, as a context manager."""
        options = [*arguments, *TINY, "--exp_name", name, "output_root={folder}", *more]
        options = [option.replace("{folder}", str(self.folder)) for option in options]
        return forked(options, self.folder / f"{name}.log", world_size)

    def killed_runs(self) -> dict[str, Any]:
        """SIGKILL at random steps, once or twice, then --resume: the same bits as the run that was not killed?"""
        write_parts(self.folder / "data", NUM_PARTS_OBJECTS)
        expected, lengths, until = {}, {}, time.monotonic() + self.seconds
        for number, (arguments, size) in enumerate(VARIANTS):
            with self.launch(arguments, f"whole{number}", world_size=size) as runs:
                codes = [run.wait() for run in runs]
            if any(codes):
                return {"runs": 0, "failures": [f"{' '.join(arguments)}: exit codes {codes} without being killed"]}
            folder = self.run_folder(arguments, f"whole{number}")
            expected[number] = digest(folder)
            lengths[number] = torch.load(folder / LAST, weights_only=True)["step"]
        done, failures = 0, []
        variants = [{"command": " ".join(arguments), "processes": size} for arguments, size in VARIANTS]
        variants = [variant | {"runs": 0, "kills": 0, "identical": 0} for variant in variants]
        while done < self.counts["runs"] and time.monotonic() < until:
            number = done % len(VARIANTS)
            failure, kills = self.kill_and_resume(number, done, lengths[number], expected[number])
            failures += [failure] if failure else []
            for key, more in (("runs", 1), ("kills", kills), ("identical", failure is None)):
                variants[number][key] += int(more)
            done += 1
            if done % 10 == 0:
                self.logger.info(f"{done} killed runs, {len(failures)} failures")
        sums = {key: sum(variant[key] for variant in variants) for key in ("runs", "kills", "identical")}
        return {**sums, "variants": variants, "failures": failures}

    def kill_and_resume(self, variant: int, number: int, num_steps: int, expected: str) -> tuple[str | None, int]:
        """One run. Returns what was wrong, if anything, and how often it was killed."""
        arguments, size = VARIANTS[variant]
        name, kills, orphans = f"killed{number}", 0, 0
        folder = self.run_folder(arguments, name)
        for _ in range(self.random.choice((1, 2))):
            with self.launch(arguments, name, self.how_to_start(folder), world_size=size) as runs:
                runs[0].wait_for_step(self.random.randint(1, max(num_steps - self.num_saved(folder), 1)))
                time.sleep(self.random.uniform(0, 0.05))  # anywhere in a step, or in a save
                for run in runs:
                    run.kill()
                # The first one may have come to its end before.
                kills += runs[0].wait() == -signal.SIGKILL
                for run in runs:
                    run.wait()
                    orphans += run.has_left_processes()
        with self.launch(arguments, name, self.how_to_start(folder), world_size=size) as runs:
            codes = [run.wait() for run in runs]
        place = f"run {number} ({' '.join(arguments)}, {size} processes)"
        if any(codes):
            return f"{place}: exit codes {codes} when it was resumed", kills
        if orphans:
            return f"{place}: {orphans} times a process was left", kills
        return None if digest(folder) == expected else f"{place}: other bits", kills

    def num_saved(self, folder: Path) -> int:
        """After how many steps a run goes on."""
        return read_last(folder, self.logger)["step"] if self.how_to_start(folder) == "--resume" else 0

    @staticmethod
    def how_to_start(folder: Path) -> str:
        """What a user adds to the command after an interruption; before the first save there is nothing to go on."""
        return "--resume" if list(folder.glob("ckpt-[lp]*.pth")) else "--overwrite"

    def killed_saves(self) -> dict[str, Any]:
        """SIGKILL while checkpoints are written: is there a whole one, and is it the last or the one before?"""
        failures, until, done = [], time.monotonic() + self.seconds, 0
        while done < self.counts["saves"] and time.monotonic() < until:
            folder = self.folder / f"saves{done}"
            folder.mkdir()
            steps, end = os.pipe()
            child = os.fork()
            if not child:
                _save_for_ever(folder, end)
            os.close(end)
            os.read(steps, 1)  # the first is there
            time.sleep(self.random.uniform(0, 0.2))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            complete = 1 + len(os.read(steps, 65536))
            os.close(steps)
            try:
                content = read_last(folder, self.logger)
                values = {*content["base_model"]["a"].tolist(), *content["base_model"]["b"].tolist(), content["step"]}
                if len(values) != 1 or not complete <= content["step"] <= complete + 1:
                    failures.append(f"save {done}: {sorted(values)[:5]} after {complete} complete saves")
            except ValueError as error:
                failures.append(f"save {done}: {error}")
            done += 1
        return {"saves": done, "loadable": done - len(failures), "failures": failures}

    def memory(self) -> dict[str, Any]:
        """Many tiny steps: memory and file handles at a tenth of them, or after an epoch, and at the end."""
        steps = self.counts["steps"]
        arguments = ("--config", "cfgs/quickstart/pretrain.yaml", f"epochs={steps // 100 + 1}", "save_every=500")
        until, marks = time.monotonic() + self.seconds, {}
        with self.launch(arguments, "long", "batch_size=7") as (run,):  # 711 shapes: 101 steps an epoch
            for mark in (max(steps // 10, 150), steps):
                if not run.wait_for_step(mark, max(until - time.monotonic(), 1)):
                    return {"steps": run.num_steps, "failures": ["the run ended early"]}
                marks[mark] = {"memory_mb": round(run.memory_mb, 1), "file_handles": run.num_files}
        (early, late), failures = marks.values(), []
        growth = late["memory_mb"] / early["memory_mb"] - 1
        if growth > TOLERANCE:
            failures.append(f"memory grew by {growth:.1%}")
        if late["file_handles"] > early["file_handles"]:
            failures.append(f"file handles grew from {early['file_handles']} to {late['file_handles']}")
        return {"steps": steps, "growth": round(growth, 4), "at_step": marks, "failures": failures}

    def processes(self) -> dict[str, Any]:
        """One, two and three processes compute the same: the slow tests of several processes."""
        test = ["-m", "pytest", "-c", ".pytest.ini", "--rootdir", ".", "-q", "-p", "no:cacheprovider"]
        return self.call([*test, "-m", "slow or not slow", *PROCESS_TESTS])

    def fuzz(self) -> dict[str, Any]:
        """Broken and hostile files."""
        limits = ["--count", str(self.counts["fuzz"]), "--seconds", str(int(self.seconds))]
        return self.call(["-m", "tests.fuzzing", *limits])

    def restarts(self) -> dict[str, Any]:
        """torchrun starts killed processes again; see `tests.soak.restarts`."""
        folder = self.folder / "restarts"
        return restarts.restarts(self.counts["restarts"], self.seconds, self.seed, folder, self.logger.info)

    def resizes(self) -> dict[str, Any]:
        """Killed runs go on with another number of processes."""
        folder = self.run_folder(restarts.CONFIG, "any").parent
        limits = (self.counts["resizes"], self.seconds, self.seed)
        return restarts.resizes(*limits, self.launch, folder, self.how_to_start)

    def call(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Another program of this project, with its exit code and its last line; all its last words if it failed."""
        command = [sys.executable, *arguments]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=2 * self.seconds + 60)
        except subprocess.TimeoutExpired:
            return {"command": " ".join(arguments), "failures": ["it did not end in time"]}
        lines = (done.stdout + done.stderr).strip().splitlines() or [""]
        failures = [f"exit code {done.returncode}"] if done.returncode else []
        result = {"command": " ".join(arguments), "last_line": lines[-1], "failures": failures}
        return result | ({"output": lines[-40:]} if failures else {})


def _save_for_ever(folder: Path, pipe: int) -> None:
    """Writes one checkpoint after the other, as a run does, and a byte for each that is complete."""

    def write(content: dict[str, Any], _: Sequence[str]) -> None:
        save_last(content, folder)
        os.write(pipe, b".")

    with CheckpointWriter(write) as writer:
        for step in range(1, 10**6):
            weights = {name: torch.full((400_000,), float(step)) for name in ("a", "b")}
            writer.submit({"base_model": weights, "step": step}, [LAST])


def read_counts(given: Sequence[str]) -> dict[str, int]:
    """What --count asks for.

    Raises:
        InputError: A part that is not counted, or no number.
    """
    counts = {}
    for text in given:
        name, _, number = text.partition("=")
        if name not in FULL or not number.isdigit() or not int(number):
            raise InputError(f"--count is '{text}', but must be N=1 or more as in restarts=5, of: {', '.join(FULL)}")
        counts[name] = int(number)
    return counts


def main() -> int:
    """Returns the exit code: 0 all is well, 1 something was lost."""
    parser = Parser(prog="scripts/soak.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a few of each, in about five minutes")
    parser.add_argument("--count", nargs="+", default=[], metavar="PART=N", help="how often, e.g. restarts=5 resizes=5")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="which parts (default: all)")
    parser.add_argument("--seconds", type=float, default=1800, help="limit for each part (default: 1800)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments at which is killed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the result is written")
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.chdir(ROOT)
    from pointrecon.tools.tasks import TASKS

    for task in ("pretrain", "segment"):  # the children find everything loaded
        TASKS.get(task)
    logger, start = make_logger(name="soak"), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        counts = {**(SHORT if args.short else FULL), **read_counts(args.count)}
        soak = Soak(counts, args.seconds, args.seed, Path(folder), logger)
        all_parts: dict[str, Callable[[], dict[str, Any]]] = {"runs": soak.killed_runs, "saves": soak.killed_saves}
        all_parts |= {"memory": soak.memory, "processes": soak.processes, "fuzz": soak.fuzz}
        all_parts |= {"restarts": soak.restarts, "resizes": soak.resizes}
        parts = {}
        for name in args.parts:
            began = time.monotonic()
            parts[name] = {**all_parts[name](), "seconds": round(time.monotonic() - began, 1)}
            logger.info(f"{name}: {json.dumps(parts[name])}")
            if args.json:  # after each part: what a stopped one has found is not lost
                environment = describe_environment(torch.device("cpu"), ["bash", "scripts/soak.sh", *sys.argv[1:]])
                seconds = round(time.monotonic() - start, 1)
                is_passed = not any(part["failures"] for part in parts.values())
                write_json({**environment, "seconds": seconds, "parts": parts, "is_passed": is_passed}, args.json)
    failures = [failure for part in parts.values() for failure in part["failures"]]
    logger.info("all is well" if not failures else f"{len(failures)} failures")
    close_logger(logger)
    return 1 if failures else 0
