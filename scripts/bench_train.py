#!/usr/bin/env python
"""Times training: python scripts/bench_train.py --config CFG [--batch_size B] [--device D] [--json FILE] ...

Runs the runner's own steps on stand-in data (random shapes, teacher features of the published sizes), so no data set is
needed. The number of threads is torch's: OMP_NUM_THREADS sets it. What the numbers mean: scripts/README.md.
"""

import argparse
import sys

from pointrecon.utils.program import Parser, exit_code


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
    from pointrecon.tools.bench_train import bench
    from pointrecon.utils.files.io import write_json

    result = bench(
        args.config,
        args.overrides,
        args.against,
        args.batch_size,
        args.device,
        args.rounds,
        args.steps,
        args.gflop_per_shape,
        args.own_data,
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
