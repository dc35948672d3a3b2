#!/usr/bin/env python
"""Times the matching of queries to views: python scripts/bench_parts/bench_assign.py [--device D] [--check N] [...]

512 problems of 13 x 13 unless told otherwise; `--check N` holds the sums of N random problems, with columns left out,
against SciPy's. The number of threads is torch's: OMP_NUM_THREADS sets it.
"""

import argparse
import statistics
import sys
import time
from typing import Any

import torch
from torch import Tensor

from pointrecon.extensions import ops
from pointrecon.tools.context import find_device
from pointrecon.tools.environment import describe_environment
from pointrecon.utils.files.io import write_json
from pointrecon.utils.program import Parser, exit_code

CHECKED_AT_ONCE = 10_000


def milliseconds(scores: Tensor, present: Tensor, rounds: int) -> float:
    """Median of a call, by the clock."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        ops.assign(scores, present)
        if scores.is_cuda:
            torch.cuda.synchronize(scores.device)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def count_mistakes(count: int, size: int, device: torch.device) -> int:
    """Random problems of which the sum is below SciPy's by more than rounding."""
    from scipy.optimize import linear_sum_assignment

    mistakes = 0
    for first in range(0, count, CHECKED_AT_ONCE):
        number = min(CHECKED_AT_ONCE, count - first)
        scores, present = torch.rand(number, size, size), torch.rand(number, size) < 0.8
        found = ops.assign(scores.to(device), present.to(device)).cpu()
        taken = scores.gather(2, found.clamp(min=0).unsqueeze(2)).squeeze(2).masked_fill(found < 0, 0.0).double().sum(1)
        for row, (one, is_there) in enumerate(zip(scores.double().numpy(), present.numpy(), strict=True)):
            rows, columns = linear_sum_assignment(one[:, is_there], maximize=True)
            mistakes += abs(float(taken[row]) - one[:, is_there][rows, columns].sum()) > 1e-5
    return mistakes


def main() -> int:
    """Returns the exit code."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--problems", type=int, default=512)
    parser.add_argument("--size", type=int, default=13)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--check", type=int, default=0, metavar="N")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    device = find_device(args.device)
    torch.manual_seed(0)
    scores = torch.rand(args.problems, args.size, args.size, device=device)
    present = torch.rand(args.problems, args.size, device=device) < 0.8
    milliseconds(scores, present, 3)
    found: dict[str, Any] = {"problems": args.problems, "size": args.size, "threads": torch.get_num_threads()}
    found["milliseconds"] = milliseconds(scores, present, args.rounds)
    if args.check:
        found |= {"checked": args.check, "mistakes": count_mistakes(args.check, args.size, device)}
    print(
        *(f"{name}: {value:.3g}" if isinstance(value, float) else f"{name}: {value}" for name, value in found.items())
    )
    if args.json:
        write_json({"environment": describe_environment(device, sys.argv), **found}, args.json)
    return int(bool(found.get("mistakes")))


if __name__ == "__main__":
    sys.exit(exit_code(main))
