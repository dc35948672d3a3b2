#!/usr/bin/env python
"""Times attention on the CPU against torch's own: python scripts/bench_parts/bench_attention.py [--json FILE]

Forward and backward, in turns. The number of threads is torch's: OMP_NUM_THREADS sets it.

Shape legend: B batch, T tokens, H heads, D width of a head.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from pointrecon.extensions import ops
from pointrecon.extensions.backends import reference
from pointrecon.tools.environment import describe_environment
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import write_json
from pointrecon.utils.program import Parser, exit_code

MIN_SECONDS = 0.02  # a measurement repeats a call until it takes this long


class Size(NamedTuple):
    """What attends to itself."""

    batch: int
    num_tokens: int
    num_heads: int
    width: int

    def __str__(self) -> str:
        return f"{self.batch} x {self.num_tokens} tokens, {self.num_heads} heads of {self.width}"


# Encoder and decoder of the base network in pretraining, of the small ones, and a network in fine-tuning.
SIZES = (Size(16, 26, 6, 64), Size(16, 64, 6, 64), Size(64, 26, 3, 64), Size(64, 64, 3, 64), Size(32, 67, 6, 64))


def bench(repeats: int, command: Sequence[str], sizes: Sequence[Size] = SIZES) -> dict[str, Any]:
    """Measures all sizes on the CPU.

    Args:
        repeats: rounds, in which the two take turns.
        command: what to write into the result.
        sizes: what attends to itself.

    Returns:
        What goes into the file: environment, and for each size the medians in milliseconds and the median ratio.

    Raises:
        InputError: repeats is below 1, or the two do not agree.
    """
    if repeats < 1:
        raise InputError(f"repeats is {repeats}; it must be 1 or more")
    return {
        "environment": describe_environment(torch.device("cpu"), command),
        "repeats": repeats,
        "timings": [_compare(size, repeats) for size in sizes],
    }


def table(result: dict[str, Any]) -> str:
    """The medians as Markdown."""
    lines = ["| attention, forward and backward, ms | ours | torch | torch / ours |", "| --- | --- | --- | --- |"]
    for line in result["timings"]:
        lines.append(f"| {line['name']} | {line['ours_ms']:.3g} | {line['torch_ms']:.3g} | {line['ratio']:.2f} |")
    return "\n".join(lines)


def _compare(size: Size, repeats: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(size.batch, size.num_tokens, 3, size.num_heads, size.width, generator=generator)
    qkv.requires_grad_()
    ours, torchs = (_step(function, qkv) for function in (ops.attention, reference.attention))
    for one, two in zip(ours(), torchs(), strict=True):
        if not torch.allclose(one, two, rtol=1e-4, atol=1e-5):
            raise InputError(f"attention differs from torch's at {size}, so it is not timed")
    calls = max(1, round(MIN_SECONDS / _seconds(torchs, 1)))
    rounds = [(_seconds(ours, calls), _seconds(torchs, calls)) for _ in range(repeats)]
    mine, theirs = (1000 * statistics.median(seconds) for seconds in zip(*rounds, strict=True))
    ratio = statistics.median(two / one for one, two in rounds)
    return {"name": str(size), "size": size._asdict(), "ours_ms": mine, "torch_ms": theirs, "ratio": ratio}


def _step(function: Callable[[torch.Tensor], torch.Tensor], qkv: torch.Tensor) -> Callable[[], tuple]:
    def step() -> tuple[torch.Tensor, torch.Tensor]:
        out = function(qkv)
        return out.detach(), torch.autograd.grad(out, qkv, torch.ones_like(out))[0]

    return step


def _seconds(step: Callable[[], tuple], num_calls: int) -> float:
    start = time.perf_counter()
    for _ in range(num_calls):
        step()
    return (time.perf_counter() - start) / num_calls


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9, help="measurements of each; their median counts")
    parser.add_argument("--json", help="file for everything that was measured")
    return parser.parse_args()


def main() -> None:
    """Measures and prints."""
    args = parse()
    result = bench(args.repeats, sys.argv)
    if args.json:
        write_json(result, args.json)
    print(f"{result['environment']['device_name']}, {result['environment']['threads']} threads")
    print(table(result))


if __name__ == "__main__":
    sys.exit(exit_code(main))
