#!/usr/bin/env python
"""Times the point operations: python scripts/bench_ops.py [--device cpu] [--repeats 9] [--json FILE]

Compares the backends with each other and with other packages where they are installed (pip install torch-fps ninja
torch-quickfps fpsample). The number of threads is torch's: OMP_NUM_THREADS sets it.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--repeats", type=int, default=9, help="measurements of each candidate")
    parser.add_argument("--operations", nargs="+", help="fps, knn, patchify; default: all")
    parser.add_argument("--max_points", type=int, help="leave larger clouds out")
    parser.add_argument("--reference", action="store_true", help="time plain PyTorch too; it is slow")
    parser.add_argument("--json", help="file for everything that was measured")
    return parser.parse_args()


def main() -> int:
    """Returns the exit code: 0 done, 2 bad input."""
    args = parse()
    from tools.bench_candidates import SIZES
    from tools.bench_ops import OPERATIONS, bench
    from utils.errors import InputError
    from utils.io import write_json

    sizes = [size for size in SIZES.get(args.device, ()) if size.num_points <= (args.max_points or size.num_points)]
    try:
        result = bench(args.device, args.repeats, args.operations or OPERATIONS, sizes, sys.argv, args.reference)
        if args.json:
            write_json(result, args.json)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
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
    return 0


if __name__ == "__main__":
    sys.exit(main())
