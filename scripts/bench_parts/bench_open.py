#!/usr/bin/env python
"""Times Uni3D and ReCon++ against one large matrix product: python scripts/bench_parts/bench_open.py [--model M] [...]

Random weights, 10,000 coloured points. On a CPU processor time of one thread counts, which other programs disturb less
than the clock; on a GPU the clock.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from pointrecon.models.open.blocks import BlockShape
from pointrecon.models.open.encoder import OpenEncoder
from pointrecon.models.open.patches import NearestPatches
from pointrecon.models.reconpp.network import ReConPP
from pointrecon.models.reconpp.work import flops_of_embedding
from pointrecon.tools.build import build_pretrainer
from pointrecon.tools.context import find_device
from pointrecon.tools.environment import describe_environment
from pointrecon.utils.config import load_config
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import write_json
from pointrecon.utils.program import Parser, exit_code

# Width, depth, heads, hidden width, gate, norm in the MLP.
SIZES = {
    "ti": (192, 12, 3, 512, True, False),
    "s": (384, 12, 6, 1024, True, False),
    "b": (768, 12, 12, 2048, True, True),
    "l": (1024, 24, 16, 2730, True, True),
    "g": (1408, 40, 16, 6144, False, False),
}
RECONPP = {"s": "small", "b": "base", "l": "large", "g": "giant"}
WIDTHS, GROUPS, GROUP_SIZE, OUT = (128, 256, 512, 512), 512, 64, 1024
GEMM = {"cpu": 2048, "cuda": 8192}


def make_encoder(size: str) -> OpenEncoder:
    """Uni3D of a size with random weights."""
    dim, depth, heads, hidden, is_gated, has_norm = SIZES[size]
    block = BlockShape(dim, heads, dim, hidden, is_gated, has_norm, True, 1e-6)
    encoder = OpenEncoder(NearestPatches(WIDTHS, GROUPS, GROUP_SIZE), WIDTHS[-1], block, depth, OUT)
    return encoder.eval().requires_grad_(False)


def flop(size: str) -> float:
    """Matrix products and attention of one cloud, the folded patch embedding as it is computed."""
    dim, depth, _, hidden, is_gated, _ = SIZES[size]
    tokens = GROUPS + 1
    block = tokens * (4 * dim * dim + (3 if is_gated else 2) * dim * hidden) + 2 * tokens * tokens * dim
    first, second, third, last = WIDTHS
    points = GROUPS * GROUP_SIZE * (6 * first + first * second + first * third + third * last)
    return 2.0 * (depth * block + points + GROUPS * (second * third + last * dim))


def make_reconpp(size: str) -> tuple[ReConPP, float]:
    """ReCon++ for zero-shot recognition with random weights, and its FLOP of one cloud."""
    cfg = load_config(f"cfgs/reconpp/zeroshot_{RECONPP[size]}.yaml", [])
    network = build_pretrainer(cfg, {"image": 1280, "text": 1280})
    return network.eval().requires_grad_(False), flops_of_embedding(cfg["model"])


def bench(model: str, size: str, batch: int, device: torch.device, precision: str, rounds: int) -> dict[str, Any]:
    """Clouds a second, and the share that their arithmetic is of a large product's."""
    is_cpu = device.type == "cpu"
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    encoder: Callable[[torch.Tensor], Any]
    if model == "reconpp":
        network, work = make_reconpp(size)
        encoder = network.to(device).embed
    else:
        encoder, work = make_encoder(size).to(device), flop(size)
    points = torch.rand(batch, 10_000, 6, device=device)
    points[..., :3] -= 0.5
    matrix = torch.rand(GEMM[device.type], GEMM[device.type], device=device, dtype=dtype)

    def embed() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            encoder(points)

    def seconds(call: Callable[[], Any]) -> float:
        now = time.process_time if is_cpu else time.perf_counter
        start = now()
        call()
        if not is_cpu:
            torch.cuda.synchronize(device)
        return now() - start

    with torch.inference_mode():
        seconds(embed)
        seconds(lambda: matrix @ matrix)
        pairs = [(seconds(embed), seconds(lambda: matrix @ matrix)) for _ in range(rounds)]
    took, product = (statistics.median(part) for part in zip(*pairs, strict=True))
    rate, best = batch * work / took, 2.0 * len(matrix) ** 3 / product
    about = {"model": model, "size": size, "batch": batch, "device": device.type, "precision": precision}
    shares = {"gflop_per_cloud": work / 1e9, "gflops": rate / 1e9, "gemm_gflops": best / 1e9}
    return {**about, "rounds": rounds, "clouds_per_second": batch / took, **shares, "share_of_gemm": rate / best}


def main() -> int:
    """Returns the exit code."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--model", choices=("uni3d", "reconpp"), default="uni3d")
    parser.add_argument("--size", choices=SIZES, default="l")
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    device = find_device(args.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    if args.model == "reconpp" and args.size not in RECONPP:
        raise InputError(f"ReCon++ has the sizes {', '.join(RECONPP)}, not '{args.size}'")
    found = bench(args.model, args.size, args.batch_size, device, args.precision, args.rounds)
    print(
        *(f"{name}: {value:.3f}" if isinstance(value, float) else f"{name}: {value}" for name, value in found.items())
    )
    if args.json:
        write_json({"environment": describe_environment(device, sys.argv), **found}, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
