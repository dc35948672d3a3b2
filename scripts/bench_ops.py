#!/usr/bin/env python
"""Times the point operations: python scripts/bench_ops.py [--device cpu] [--repeats 9] [--json FILE]

Compares the backends with each other and with other packages where they are installed (pip install torch-fps ninja
torch-quickfps fpsample). The number of threads is torch's: OMP_NUM_THREADS sets it. Candidates take turns, so that a
busy machine hurts all of them alike; what counts is the ratio of medians. A candidate with a wrong result is not timed.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from bench_parts.ops_peers import (
    SIZES,
    Candidate,
    Size,
    Skipped,
    call,
    expect,
    find_candidates,
    find_mistake,
    make_clouds,
)
from torch import Tensor

from pointrecon.tools.environment import describe_environment
from pointrecon.utils.errors import InputError, check_choice
from pointrecon.utils.files.io import write_json
from pointrecon.utils.program import Parser, exit_code

OPERATIONS = ("fps", "knn", "patchify")
MIN_SECONDS = 0.005  # a measurement repeats a call until it takes this long
MAX_SECONDS = 5.0  # a candidate that has taken this long at a size sits out the rounds that are left


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one candidate at one size: a line of the file."""

    operation: str
    size: Size
    name: str
    is_ours: bool
    median_ms: float
    lowest_ms: float
    highest_ms: float
    num_measurements: int


def bench(
    device: str,
    repeats: int,
    operations: Sequence[str],
    sizes: Sequence[Size] | None,
    command: Sequence[str],
    with_reference: bool = False,
) -> dict[str, Any]:
    """Times everything.

    Args:
        device: "cpu" or "cuda".
        repeats: rounds, 1 or more.
        operations: some of OPERATIONS.
        sizes: None: those of SIZES.
        command: what to write into the result.
        with_reference: time the plain definition too where a faster backend is there.

    Returns:
        What goes into the file: environment, load of the machine beforehand, timings, skipped, ratios, table.

    Raises:
        InputError: an argument is out of range or the device is not there.
    """
    check_choice("device", device, SIZES)
    for operation in operations:
        check_choice("operation", operation, OPERATIONS)
    if repeats < 1:
        raise InputError(f"repeats is {repeats}; it must be 1 or more")
    if sizes is not None and not sizes:
        raise InputError(f"no size is left; the smallest cloud has {SIZES[device][0].num_points} points")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device is 'cuda', but torch finds no GPU here; use --device cpu")
    where = torch.device(device)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    timings, skipped = [], []
    for operation in operations:
        candidates = list(find_candidates(operation, where, skipped, with_reference))
        for size in SIZES[device] if sizes is None else sizes:
            timings += _time_size(operation, size, candidates, where, repeats, skipped)
    return {
        "environment": describe_environment(where, command),
        "load_average": load,
        "repeats": repeats,
        "timings": [{**asdict(timing), "size": timing.size._asdict()} for timing in timings],
        "skipped": [asdict(skip) for skip in skipped],
        "ratios": [ratio for operation in operations for ratio in _ratios(operation, timings)],
        "table": "\n\n".join(_table(operation, timings) for operation in operations),
    }


def _time_size(
    operation: str,
    size: Size,
    candidates: Sequence[Candidate],
    device: torch.device,
    repeats: int,
    skipped: list[Skipped],
) -> list[Timing]:
    points = make_clouds(size, device, seed=1)
    expected = expect(operation, points, points[:, : size.num_samples].contiguous(), size)
    centers = points[:, : size.num_samples].contiguous()
    seconds: dict[Candidate, list[float]] = {}
    calls: dict[Candidate, int] = {}
    for candidate in candidates:  # this warms up, too
        result = call(candidate, points, centers, size)
        if candidate.is_ours and (reason := find_mistake(operation, candidate, result, points, expected)):
            skipped.append(Skipped(operation, candidate.name, f"{size}: {reason}"))
            continue
        first = _measure(candidate, points, centers, size, 1)
        seconds[candidate] = [first] if first > MAX_SECONDS else []
        calls[candidate] = max(1, round(MIN_SECONDS / first))
    for _ in range(repeats):
        for candidate, measured in seconds.items():
            if sum(measured) * calls[candidate] <= MAX_SECONDS:
                measured.append(_measure(candidate, points, centers, size, calls[candidate]))
    return [_timing(operation, size, candidate, measured) for candidate, measured in seconds.items()]


def _measure(candidate: Candidate, points: Tensor, centers: Tensor, size: Size, num_calls: int) -> float:
    """Seconds a call."""
    _wait(points.device)
    start = time.perf_counter()
    for _ in range(num_calls):
        call(candidate, points, centers, size)
    _wait(points.device)
    return (time.perf_counter() - start) / num_calls


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _timing(operation: str, size: Size, candidate: Candidate, seconds: Sequence[float]) -> Timing:
    numbers = [1000 * value for value in (statistics.median(seconds), min(seconds), max(seconds))]
    return Timing(operation, size, candidate.name, candidate.is_ours, *numbers, len(seconds))


def _ratios(operation: str, timings: Sequence[Timing]) -> Iterator[dict[str, Any]]:
    """Yields how many times faster ours is than the fastest peer, a size at a time."""
    for size in dict.fromkeys(timing.size for timing in timings if timing.operation == operation):
        here = [timing for timing in timings if (timing.operation, timing.size) == (operation, size)]
        ours = [timing for timing in here if timing.is_ours]
        peers = sorted((timing for timing in here if not timing.is_ours), key=lambda timing: timing.median_ms)
        if ours and peers:  # the first of ours is the one that runs by default
            ratio = peers[0].median_ms / ours[0].median_ms
            yield {
                "operation": operation,
                "size": size._asdict(),
                "ours": ours[0].name,
                "peer": peers[0].name,
                "ratio": ratio,
            }


def _table(operation: str, timings: Sequence[Timing]) -> str:
    """Medians as Markdown: a line a size, a column a candidate."""
    here = [timing for timing in timings if timing.operation == operation]
    names = list(dict.fromkeys(timing.name for timing in here))
    lines = [f"| {operation}, ms | {' | '.join(names)} | fastest other / ours |", "| --- " * (len(names) + 2) + "|"]
    ratios = {Size(**ratio["size"]): ratio["ratio"] for ratio in _ratios(operation, timings)}
    for size in dict.fromkeys(timing.size for timing in here):
        medians = {timing.name: timing.median_ms for timing in here if timing.size == size}
        cells = [f"{medians[name]:.3g}" if name in medians else "-" for name in names]
        lines.append(f"| {size} | {' | '.join(cells)} | {f'{ratios[size]:.2f}' if size in ratios else '-'} |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--repeats", type=int, default=9, help="measurements of each candidate")
    parser.add_argument("--operations", nargs="+", help="fps, knn, patchify; default: all")
    parser.add_argument("--max_points", type=int, help="leave larger clouds out")
    parser.add_argument("--reference", action="store_true", help="time plain PyTorch too; it is slow")
    parser.add_argument("--json", help="file for everything that was measured")
    return parser.parse_args()


def main() -> None:
    """Measures, writes and prints."""
    args = parse()
    sizes = [size for size in SIZES.get(args.device, ()) if size.num_points <= (args.max_points or size.num_points)]
    result = bench(args.device, args.repeats, args.operations or OPERATIONS, sizes, sys.argv, args.reference)
    if args.json:
        write_json(result, args.json)
    environment = result["environment"]
    place = f"{environment['device_name']}, {environment['threads']} threads"
    print(f"{environment['time']}, {place}, medians of {args.repeats}")
    if (result["load_average"] or 0) > 1:
        print(
            f"The machine was busy (load {result['load_average']:.1f}): threads that wait for each other suffer most."
        )
    print(result["table"])
    for skip in result["skipped"]:
        print(f"not timed: {skip['operation']} of {skip['name']}: {skip['reason']}")


if __name__ == "__main__":
    sys.exit(exit_code(main))
