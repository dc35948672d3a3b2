#!/usr/bin/env python
"""Times training: python scripts/bench_train.py --config CFG [--batch_size B] [--device D] [--json FILE] ...

Runs the runner's own steps on stand-in data (random shapes, teacher features of the published sizes), so no data set is
needed. The number of threads is torch's: OMP_NUM_THREADS sets it. What the numbers mean: scripts/README.md.
"""

import argparse
import copy
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_parts.timing import gemm_gflops, largest_costs, timed_parts, wait_for
from torch.utils.flop_counter import FlopCounterMode

from pointrecon.datasets.teacher_cache.writer import ImageFeatures, TextFeatures, write_features
from pointrecon.extensions import use_backend
from pointrecon.models.reconpp.network import ReConPP
from pointrecon.models.reconpp.work import flops_of_step
from pointrecon.tools.build import build_dataset
from pointrecon.tools.context import make_context
from pointrecon.tools.environment import describe_environment
from pointrecon.tools.tasks import TASKS
from pointrecon.tools.training.hooks import HookList
from pointrecon.tools.training.optim import CosineSchedule
from pointrecon.tools.training.passes import NUM_PLAIN, Passes
from pointrecon.tools.training.runner import Runner
from pointrecon.utils.config import load_config
from pointrecon.utils.files.io import write_json
from pointrecon.utils.log import Progress
from pointrecon.utils.processes.memory import peak_memory_mb
from pointrecon.utils.program import Parser, exit_code

NUM_SHAPES = 512  # stand-in shapes, at least: an epoch has a few steps
FEATURE_DIMS = {"image": 768, "text": 512}  # of ReCon's published teachers
RECONPP_DIM = 1280  # of ReCon++'s, which is both
STEPS_PER_EPOCH = 1000  # for what happens once an epoch: the loss is looked at
NUM_VIEWS, NUM_PROMPTS = 8, 60


@dataclass
class Case:
    """One config that can make steps.

    Attributes:
        overrides: What sets it apart.
        runner: Ready to train.
    """

    overrides: list[str]
    runner: Runner
    progress: Progress

    def step(self) -> None:
        """One optimizer step, with what the runner does around it."""
        self.runner.train_step(self.progress)

    @property
    def shapes_a_step(self) -> int:
        """Shapes that a step learns from."""
        return self.runner.cfg["batch_size"] * self.runner.cfg["accum_steps"]


def bench(
    config: str,
    *,
    overrides: Sequence[str] = (),
    against: Sequence[str] | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    num_rounds: int = 5,
    num_steps: int = 3,
    gflop_per_shape: float | None = None,
    is_own_data: bool = False,
) -> dict[str, Any]:
    """Measures a config; rounds of steps and of matrix products take turns, and medians over the rounds count.

    Args:
        config: the YAML file.
        overrides: key=value, as on the command line of main.py.
        against: overrides of a second case, measured in turns with the first; None: no second case.
        batch_size: shapes in a step; None: the config's.
        device: as the key `device`; None: the config's.
        num_rounds: rounds.
        num_steps: steps in each round.
        gflop_per_shape: arithmetic of a shape; None: counted (`count_gflop`).
        is_own_data: read the config's data set and caches; otherwise stand-in shapes of random points, with random
            features in the place of the teachers' cache.

    Returns:
        What scripts/README.md explains, for a JSON file.

    Raises:
        InputError: the config, a value or a device is not there.
    """
    shared = list(overrides)
    shared += [f"batch_size={batch_size}"] if batch_size else []
    shared += [f"device={device}"] if device else []
    with tempfile.TemporaryDirectory() as folder:
        settings = [shared] if against is None else [shared, [*shared, *against]]
        cases = [make_case(config, setting, Path(folder), is_own_data) for setting in settings]
        first = cases[0]
        place, precision = first.runner.ctx.device, first.runner.cfg["precision"]
        gflop = gflop_per_shape or count_gflop(first)
        seconds, gemm = measure(cases, place, precision, num_rounds, num_steps)
        typical = [statistics.median(times) for times in seconds]
        rates = [case.shapes_a_step / value for case, value in zip(cases, typical, strict=True)]
        peak = step_peak_mb(first)  # before the profiler takes some
        result = {
            "config": config,
            "overrides": shared,
            "environment": describe_environment(place, sys.argv),
            "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            "rounds": num_rounds,
            "steps_a_round": num_steps,
            "shapes_per_second": rates[0],
            "seconds_per_step": typical[0],
            "seconds_per_step_of_rounds": seconds[0],
            "gflop_per_shape": gflop,
            "model_gflops": gflop * rates[0],
            "gemm_gflops": gemm,
            "share_of_gemm": gflop * rates[0] / gemm,
            "peak_memory_mb": peak,
            "loader_over_step": typical[0] / loader_seconds(first, num_steps),
            "milliseconds_by_part": time_parts(first, num_steps),
            **largest_costs(first.step, place, num_steps),
        }
        if against is not None:
            ratios = [two / one for one, two in zip(*seconds, strict=True)]
            result["against"] = {
                "overrides": list(against),
                "shapes_per_second": rates[1],
                "ratio": statistics.median(ratios),
                "ratio_of_rounds": ratios,
            }
        for case in cases:
            case.runner.ctx.metrics.close()
    return result


def make_case(config: str, overrides: Sequence[str], folder: Path, is_own_data: bool) -> Case:
    """A config ready to train, on stand-in data unless told otherwise."""
    extras = ["figures=false", "epochs=1000000", f"output_root={folder}"]
    cfg = load_config(config, [*overrides, *extras])
    if not is_own_data:
        options = stand_in_options(cfg)
        cfg = load_config(config, [*overrides, *extras, *stand_in(cfg, folder)])
        cfg["data"]["options"] = options  # not merged: those of the data set itself mean nothing to another
        if cfg["task"] == "pretrain":
            write_stand_in_features(cfg, folder / "teachers.h5")
    ctx = make_context(cfg, config, "bench", overwrite=True)
    ctx.logger.setLevel(logging.WARNING)
    task = TASKS.get(cfg["task"])(cfg, ctx)
    runner = Runner(task, cfg, ctx, hooks=HookList([]))
    runner.schedule = CosineSchedule(cfg["optim"], STEPS_PER_EPOCH, cfg["epochs"])
    runner.prepare_network()
    task.network.train()
    progress = Progress(cfg["epochs"], ctx.logger, every=cfg["log_every"], enabled=False)
    runner.batches.read_from(endless(task.train_loader))
    return Case(list(overrides), runner, progress)


def stand_in(cfg: Mapping[str, Any], folder: Path) -> list[str]:
    """Overrides that put random shapes in the place of the data set."""
    changes = ["data.type=RandomShapes", "evaluators={}", "init=null"]
    for kind in FEATURE_DIMS:
        if cfg["teachers"][kind] is not None and cfg["teachers"][kind]["cached"]:
            changes += [f"teachers.{kind}.type=CachedFeatures", f"teachers.{kind}.path={folder / 'teachers.h5'}"]
    return changes


def stand_in_options(cfg: Mapping[str, Any]) -> dict[str, int]:
    """How many shapes, and how many points of each, as the data set has."""
    stored = {"ShapeNet55": 8192, "ModelNet": 8192}.get(cfg["data"]["type"], cfg["data"]["num_points"])
    num_stored = max(stored, cfg["data"]["num_points"])
    return {"num_shapes": max(NUM_SHAPES, 4 * cfg["batch_size"]), "num_stored": num_stored}


def write_stand_in_features(cfg: Mapping[str, Any], path: Path) -> None:
    """A cache of random features of the published widths."""
    dataset = build_dataset(cfg, "pretrain", shots=None)
    draw = np.random.default_rng(0)
    dims = dict.fromkeys(FEATURE_DIMS, RECONPP_DIM) if cfg["model"]["type"] == "ReConPP" else FEATURE_DIMS
    num_views = max(NUM_VIEWS, (cfg["teachers"]["image"] or {}).get("draws", 1))
    blocks = draw.standard_normal((1, len(dataset), num_views, dims["image"]), dtype=np.float32)
    names = sorted(set(dataset.names))
    prompts = draw.standard_normal((len(names), NUM_PROMPTS, dims["text"]), dtype=np.float32)
    templates = [f"{{}} {number}." for number in range(NUM_PROMPTS)]
    text = TextFeatures(dataset.ids, dataset.names, prompts, templates, names, prompts, templates)
    write_features(path, ImageFeatures(dataset.ids, blocks), text)


def endless(loader: Any) -> Iterator[Any]:
    """Whole batches for ever."""
    while True:
        for batch in loader:
            if len(batch["points"]) == loader.batch_size:
                yield batch
        loader.sampler.epoch += 1


def measure(
    cases: Sequence[Case], device: torch.device, precision: str, num_rounds: int, num_steps: int
) -> tuple[list[list[float]], float]:
    """Seconds a step of each case in each round, and the median rate of a matrix product (GFLOP/s)."""
    for case in cases:
        for _ in range(NUM_PLAIN + 2):  # the first steps compile, allocate, choose kernels and are recorded
            case.step()
    seconds, rates = [[] for _ in cases], []
    for _ in range(num_rounds):
        rates.append(gemm_gflops(device, precision))
        for case, times in zip(cases, seconds, strict=True):
            wait_for(device)
            start = time.perf_counter()
            for _ in range(num_steps):
                case.step()
            wait_for(device)
            times.append((time.perf_counter() - start) / num_steps)
    return seconds, statistics.median(rates)


def count_gflop(case: Case) -> float:
    """GFLOP of matrix products and attention that a shape takes, forward and backward, as torch counts them.

    For pretraining ReCon++ by `models/reconpp/work.py`, which counts the same from the sizes. Otherwise in pretraining
    with nothing but visible patches embedded: what a setting or an implementation does beyond that is no useful
    arithmetic. Counted in plain torch, since a compiled operation counts nothing.
    """
    runner = copy.copy(case.runner)
    if isinstance(runner.task.model, ReConPP) and runner.task.model.step == "all":
        return flops_of_step(runner.cfg["model"], RECONPP_DIM) / 1e9
    encoder = getattr(runner.task.model, "encoder", None)
    had = getattr(encoder, "embed_masked", None)
    use_backend("reference")
    network, runner.task.network = runner.task.network, runner.task.model
    try:
        if had is not None:
            encoder.embed_masked = False
        with FlopCounterMode(display=False) as counter:
            (batch, *_) = runner.read_batches()
            loss, _ = runner.task.training_step(batch)
            loss.backward()
        return counter.get_total_flops() / len(batch["points"]) / 1e9
    finally:
        use_backend(None)
        if had is not None:
            encoder.embed_masked = had
        runner.task.network = network
        runner.task.model.zero_grad(set_to_none=True)


def step_peak_mb(case: Case) -> float:
    """Peak memory of a step; on a GPU of one that is not replayed, without what counting and products took before."""
    device, passes = case.runner.ctx.device, case.runner.passes
    if device.type == "cuda":
        case.runner.passes = Passes(case.runner.task, passes.autocast)
        torch.cuda.reset_peak_memory_stats(device)
        case.step()
        wait_for(device)
        case.runner.passes = passes
    return peak_memory_mb(device)


def loader_seconds(case: Case, num_steps: int) -> float:
    """Seconds that the data of a step take when nothing else runs."""
    device = case.runner.ctx.device
    case.runner.read_batches()
    wait_for(device)
    start = time.perf_counter()
    for _ in range(num_steps):
        case.runner.read_batches()
    wait_for(device)
    return (time.perf_counter() - start) / num_steps


def time_parts(case: Case, num_steps: int) -> dict[str, float]:
    """Milliseconds a step by part."""
    with timed_parts(case.runner) as timer:
        step = timer.wrap("backward and loop", case.step)
        for _ in range(num_steps):
            step()
    return {name: round(1e3 * value / num_steps, 3) for name, value in timer.seconds.items()}


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="config of the run, such as cfgs/pretrain/base.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as for main.py")
    parser.add_argument("--batch_size", type=int, help="shapes in a step; default: the config's")
    parser.add_argument("--device", help="auto, cpu, cuda; default: the config's")
    parser.add_argument("--against", nargs="*", metavar="KEY=VALUE", help="also time the config with these, in turns")
    parser.add_argument("--rounds", type=int, default=5, help="measurements; their median counts")
    parser.add_argument("--steps", type=int, default=3, help="training steps in each")
    parser.add_argument("--gflop_per_shape", type=float, help="count this instead of what torch counts")
    parser.add_argument("--own_data", action="store_true", help="read the config's own data set and teacher cache")
    parser.add_argument("--json", help="file for everything that was measured")
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Measures, writes and prints."""
    result = bench(
        args.config,
        overrides=args.overrides,
        against=args.against,
        batch_size=args.batch_size,
        device=args.device,
        num_rounds=args.rounds,
        num_steps=args.steps,
        gflop_per_shape=args.gflop_per_shape,
        is_own_data=args.own_data,
    )
    if args.json:
        write_json(result, args.json)
    place = result["environment"]
    print(f"{args.config}, {place['device_name']}, {place['threads']} threads, torch {place['packages']['torch']}")
    for name in ("shapes_per_second", "gflop_per_shape", "model_gflops", "gemm_gflops", "share_of_gemm"):
        print(f"{name:20} {result[name]:.4g}")
    print(f"{'peak_memory_mb':20} {result['peak_memory_mb']:.0f}")
    print(f"{'loader_over_step':20} {result['loader_over_step']:.1f}")
    for name, milliseconds in sorted(result["milliseconds_by_part"].items(), key=lambda pair: -pair[1]):
        print(f"  {milliseconds:9.2f} ms  {name}")
    for cost in result["largest_costs"]:
        print(f"  {cost['share']:9.1%}     {cost['operation']}")
    if result["kernel_launches"] is not None:
        print(f"{'kernel_launches':20} {result['kernel_launches']:.0f}")
    if "against" in result:
        other = result["against"]
        print(f"{other['ratio']:.2f} times as fast as with {' '.join(other['overrides'])} (median of the rounds)")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse())))
