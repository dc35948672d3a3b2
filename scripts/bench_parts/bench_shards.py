#!/usr/bin/env python
"""Measures reading from shards: python scripts/bench_parts/bench_shards.py --folder DIR [--json FILE]

Generates shapes of 256 points (50,000, 100,000 and 200,000 by default, 2 GB), then reads an epoch of each in one
process and of the largest in several: seconds, shapes a second, memory at a tenth and at the end of the epoch.
Shapes are random numbers. Each figure comes from a process of its own, so that none inherits another's memory.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pointrecon.datasets.loader import train_loader
from pointrecon.datasets.shards.shards import Shards
from pointrecon.tools.environment import describe_environment
from pointrecon.tools.shards import encode_npy, write_split
from pointrecon.utils.files.io import write_json
from pointrecon.utils.program import Parser, exit_code

READ = "--read"  # how this program calls itself: one epoch, told on stdout as JSON
NUM_POINTS = 256
BATCH_SIZE = 128
SHARD_SIZE = 2000
MARKS = (0.1, 0.5, 1.0)  # of an epoch; where the memory is looked at


def bench(folder: Path, sizes: Sequence[int], processes: Sequence[int], command: Sequence[str]) -> dict[str, Any]:
    """Generates data sets and reads an epoch of each.

    Args:
        folder: for the data sets; those that are there are used again.
        sizes: numbers of shapes.
        processes: how many read at the same time, each its part of the largest data set.
        command: the command line, for the result.

    Returns:
        `epochs` (one process, a line a size), `processes` (the largest size, a line a number) and `environment`.
    """
    for size in sizes:
        generate(folder / str(size) / "pretrain", size)
    result: dict[str, Any] = {"environment": describe_environment(torch.device("cpu"), command)}
    result |= {"num_points": NUM_POINTS, "batch_size": BATCH_SIZE, "shard_size": SHARD_SIZE}
    result["epochs"] = [{"shapes": size, **measure(folder, size, 1)} for size in sizes]
    result["processes"] = [{"processes": count, **measure(folder, max(sizes), count)} for count in processes]
    return result


def generate(folder: Path, size: int) -> None:
    """Writes `size` random shapes."""

    def encode(number: int) -> dict[str, bytes]:
        random = np.random.RandomState(number)
        notes = {"id": f"shape{number}", "label": number % 40, "text": "shape"}
        points = random.standard_normal((NUM_POINTS, 3)).astype(np.float32)
        return {"points.npy": encode_npy(points), "json": json.dumps(notes).encode()}

    names = [f"shape{number}" for number in range(size)]
    write_split(folder, "pretrain", encode, names, SHARD_SIZE, {"num_points": NUM_POINTS})


def measure(folder: Path, size: int, num_processes: int) -> dict[str, Any]:
    """Reads an epoch in several processes at once.

    Returns:
        seconds from the first start to the last end, shapes a second of all together, seconds of processor time of each
        (on a busy machine the fairer measure), the machine's load, and the memory of the first at `MARKS`.
    """
    command = [sys.executable, str(Path(__file__).resolve()), READ, str(folder), str(size)]
    readers = [
        subprocess.Popen([*command, str(rank), str(num_processes)], stdout=subprocess.PIPE, text=True)
        for rank in range(num_processes)
    ]
    outputs = [reader.communicate()[0] for reader in readers]
    assert not any(reader.returncode for reader in readers), outputs
    reports = [json.loads(output) for output in outputs]
    seconds = max(report["end"] for report in reports) - min(report["start"] for report in reports)
    num_shapes = sum(report["shapes"] for report in reports)
    return {
        "read": num_shapes,
        "seconds": round(seconds, 2),
        "shapes_per_second": round(num_shapes / seconds),
        "cpu_seconds": [round(report["cpu"], 2) for report in reports],
        "load_average": round(os.getloadavg()[0], 1),
        "megabytes": reports[0]["megabytes"],
    }


def read_epoch(folder: Path, size: int, rank: int, num_processes: int) -> dict[str, Any]:
    """One epoch's batches as training reads them, without anything being trained."""
    dataset = Shards(str(folder), folder=str(size))
    loader = train_loader(dataset, BATCH_SIZE, drop_last=True, rank=rank, world_size=num_processes)
    marks = {max(1, int(mark * len(loader))): mark for mark in MARKS}
    start, before, num_shapes, megabytes = time.time(), time.process_time(), 0, {}
    for number, batch in enumerate(loader, start=1):
        num_shapes += len(batch["points"])
        if number in marks:
            megabytes[f"{marks[number]:.0%}"] = memory_mb()
    used = time.process_time() - before
    return {"start": start, "end": time.time(), "cpu": used, "shapes": num_shapes, "megabytes": megabytes}


def memory_mb() -> dict[str, int]:
    """Megabytes of this process: all, and those that are no mapped files, which the system may take back."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("VmRSS", "RssAnon"))}
    return {"resident": round(kilobytes["VmRSS"] / 1000), "anonymous": round(kilobytes["RssAnon"] / 1000)}


def read_here(arguments: Sequence[str]) -> None:
    """Reads an epoch in this process and prints what it took."""
    folder, *numbers = arguments
    torch.set_num_threads(1)
    print(json.dumps(read_epoch(Path(folder), *map(int, numbers))))


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="for the generated shards")
    parser.add_argument("--sizes", type=int, nargs="+", default=[50_000, 100_000, 200_000], help="numbers of shapes")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="how many read at the same time")
    parser.add_argument("--json", help="file for the result")
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Measures, prints and writes."""
    result = bench(Path(args.folder), args.sizes, args.processes, sys.argv)
    for line in (*result["epochs"], *result["processes"]):
        print(line)
    if args.json:
        write_json(result, args.json)


if __name__ == "__main__":
    if sys.argv[1:2] == [READ]:
        read_here(sys.argv[2:])
    else:
        sys.exit(exit_code(lambda: run(parse())))
