"""All that only a machine with a GPU can check, in a limited time, as one JSON: tests, operations, training speed.

First the tests run side by side, and with them what fills the compiler's cache for later; then one after the other what
is timed, the most telling first. A step that fails or runs out of time is recorded and the next one begins; what no
time is left for is recorded as left out.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pointrecon.tools.environment import ROOT, describe_environment
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import read_json

TOTAL_SECONDS = 460
LEFT_OUT = "left out"
PARTS = ("recon", "open")
TAIL_CHARACTERS = 6000
KILL_SECONDS = 15  # a process that the driver holds may not end even when killed
FAST = ("precision=bf16", "compile=true", "data.device_resident=true")
PLAIN = ("precision=fp32", "compile=false", "cuda_graph=false", "data.device_resident=false")
LIVE = (
    *PLAIN,
    "teachers.image={type: TimmTeacher, cached: false, options: {model: vit_base_patch16_224, pretrained: null}}",
    "teachers.text={type: OpenClipTeacher, cached: false, options: {model: ViT-B-32, pretrained: null}}",
)


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: What it checks.
        command: Its arguments, after the interpreter.
        seconds: It is stopped after this long.
        is_timed: It has the machine to itself.
        environment: Variables that it gets besides.
    """

    name: str
    command: tuple[str, ...]
    seconds: int
    is_timed: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)


def make_steps(folder: Path, device: str, part: str = "recon") -> list[Step]:
    """The steps; those that measure write <folder>/<name>.json.

    Args:
        folder: for what the steps write.
        device: cuda, or cpu to try the steps themselves.
        part: one of PARTS.
    """
    return open_steps(folder, device) if part == "open" else recon_steps(folder, device)


def open_steps(folder: Path, device: str) -> list[Step]:
    """ReCon++ B and L in training, with Uni3D L in recognition, and the matching of queries to views."""

    def bench(name: str, script: str, *arguments: str, seconds: int = 90) -> Step:
        return Step(name, (script, *arguments, "--device", device, "--json", str(folder / f"{name}.json")), seconds)

    def train(size: str, batch_size: int) -> Step:
        overrides = ("precision=bf16", "compile=true", "parallel=ddp", "--rounds", "5", "--steps", "10")
        config = ("--config", f"cfgs/reconpp/zeroshot_{size}.yaml", "--batch_size", str(batch_size))
        return bench(f"train_reconpp_{size}", "scripts/bench_train.py", *config, *overrides, seconds=150)

    def embed(model: str, size: str) -> Step:
        options = ("--model", model, "--size", size, "--batch_size", "32", "--precision", "bf16", "--rounds", "10")
        return bench(f"embed_{model}_{size}", "scripts/bench_parts/bench_open.py", *options)

    return [
        train("base", 64),
        train("large", 32),
        embed("uni3d", "l"),
        embed("reconpp", "l"),
        bench("assign", "scripts/bench_parts/bench_assign.py", "--check", "100000"),
    ]


def recon_steps(folder: Path, device: str) -> list[Step]:
    """Tests, operations, pretraining and fine-tuning of ReCon."""

    def tests(name: str, *arguments: str, is_timed: bool = False, **environment: str) -> Step:
        pytest = ("-m", "pytest", "-c", ".pytest.ini", "--rootdir", ".", "-q", "-m", "gpu", "-p", "no:cacheprovider")
        # A fault of the GPU makes all later tests of its process fail.
        return Step(name, (*pytest, "--tb=short", "--maxfail=5", *arguments), 200, is_timed, environment)

    def train(name: str, kind: tuple[str, ...], *overrides: str, against: Sequence[str] = ()) -> Step:
        command = ["scripts/bench_train.py", *kind, *overrides, "--device", device, "--rounds", "5", "--steps", "10"]
        command += ["--json", str(folder / f"{name}.json"), *(["--against", *against] if against else [])]
        return Step(name, tuple(command), 120)

    def compile_ahead(name: str, kind: tuple[str, ...]) -> Step:
        command = ("scripts/bench_train.py", *kind, *FAST, "--device", device, "--rounds", "1", "--steps", "1")
        return Step(name, command, 200, is_timed=False)

    base = ("--config", "cfgs/pretrain/base.yaml", "--batch_size", "128")
    scan = ("--config", "cfgs/full/finetune_scan_hardest.yaml", "--batch_size", "32")
    kernels = "tests/extensions/backends/test_gpu.py"
    operations = ("scripts/bench_ops.py", "--device", device, "--json", str(folder / "operations.json"))
    return [
        tests("tests_operations", "-k", "not time_of", "tests/extensions"),
        tests("tests_stepwise", "-k", "not time_of", kernels, POINT_OPS_COOPERATIVE="0"),
        tests("tests_recorded", "tests/tools/training/test_passes.py"),
        tests("tests_training", "tests", "--ignore=tests/extensions", "--ignore=tests/tools/training/test_passes.py"),
        compile_ahead("compile_pretraining", base),
        compile_ahead("compile_fine_tuning", scan),
        train("pretrain_against_live_teachers", base, *FAST, against=LIVE),
        train("finetune_fast", scan, *FAST, against=PLAIN),
        Step("operations", operations, 60),
        tests("tests_times", "-k", "time_of", kernels, is_timed=True),
        train("pretrain_not_compiled", base, "precision=bf16", "data.device_resident=true", against=PLAIN),
    ]


def check(
    folder: str | Path,
    device: str = "cuda",
    say: Callable[[str], None] = lambda line: None,
    keep: Callable[[dict[str, Any]], None] = lambda result: None,
    part: str = "recon",
) -> dict[str, Any]:
    """Runs all steps.

    Args:
        folder: for what the steps write; made if it is not there.
        device: cuda, or cpu to try the steps themselves.
        say: gets a line a step.
        keep: gets the result so far after each step, so that nothing is lost if a later one takes the machine down.
        part: one of PARTS.

    Returns:
        What there is to know of the machine, whether nothing failed, what was left out, and of each step its command,
        exit code (null: out of time or left out), seconds, last lines and figures.

    Raises:
        InputError: there is no such device.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("torch sees no CUDA GPU; this check needs one")
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    environment = describe_environment(torch.device(device), sys.argv)  # a step may leave a GPU that cannot be asked
    results: list[dict[str, Any]] = []
    result: dict[str, Any] = {}
    steps = make_steps(folder, device, part)
    together = [step for step in steps if not step.is_timed]
    for group in filter(None, (together, *([step] for step in steps if step.is_timed))):
        seconds_left = TOTAL_SECONDS - (time.monotonic() - start)
        with ThreadPoolExecutor(len(group)) as pool:
            for done in as_completed([pool.submit(run_step, step, folder, seconds_left) for step in group]):
                one = done.result()
                results.append(one)
                say(f"{one['name']}: {one['state']}, {one['seconds']:.0f} s")
                result = {"environment": environment, "seconds": round(time.monotonic() - start, 1)}
                result |= _sum_up(results)
                keep(result)
    return result


def _sum_up(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    left_out = [one["name"] for one in results if one["state"].startswith(LEFT_OUT)]
    is_well = all(one["state"] == "passed" or one["name"] in left_out for one in results)
    return {"is_well": is_well, "left_out": left_out, "steps": list(results)}


def run_step(step: Step, folder: Path, seconds_left: float) -> dict[str, Any]:
    """Runs one step, for as long as it may."""
    result: dict[str, Any] = {"name": step.name, "command": ["python", *step.command], "seconds": 0.0}
    result |= {"exit_code": None, "output": "", "figures": None}
    limit = min(step.seconds, seconds_left)
    if limit < 1:
        return result | {"state": f"{LEFT_OUT}, no time was left"}
    figures = folder / f"{step.name}.json"
    figures.unlink(missing_ok=True)  # those of an earlier check
    start = time.monotonic()
    with open(folder / f"{step.name}.log", "w+", encoding="utf-8", errors="replace") as log:
        environment = {**os.environ, **step.environment}
        process = subprocess.Popen(
            [sys.executable, *step.command], cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)  # with all that it started
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(KILL_SECONDS)
            code = None
        log.seek(0)
        output = log.read()[-TAIL_CHARACTERS:]
    states = {0: "passed", None: f"stopped after {limit:.0f} s"}
    return result | {
        "state": states.get(code, f"failed with exit code {code}"),
        "exit_code": code,
        "seconds": round(time.monotonic() - start, 1),
        "output": output,
        "figures": _read_figures(figures),
    }


def _read_figures(path: Path) -> Any:
    """What a step has written; None without it."""
    try:
        return read_json(path)
    except InputError:
        return None
