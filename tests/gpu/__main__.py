"""What only a machine with an NVIDIA GPU can check, in under 8 minutes: python -m tests.gpu [--json FILE]

Runs the tests marked gpu and the benchmarks of the point operations, of pretraining and of fine-tuning. Exit code 1 if
a step failed or was stopped for taking too long; what is left for want of time is named. scripts/gpu_check.sh sets up
first.
"""

import argparse
import sys
from pathlib import Path

from pointrecon.utils.program import Parser, exit_code


def run() -> int:
    """Checks, writes and prints."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", default="experiments/gpu_check", help="for logs and the figures of each step")
    parser.add_argument("--json", help="file for everything; default: gpu_check.json in the folder")
    parser.add_argument("--device", default="cuda", help="cpu tries the steps themselves, slowly")
    parser.add_argument("--part", choices=("recon", "open"), default="recon", help="open: ReCon++ and Uni3D")
    args = parser.parse_args()

    from pointrecon.utils.files.io import write_json
    from tests.gpu.gpu_check import check

    path = args.json or Path(args.folder) / "gpu_check.json"
    result = check(
        args.folder,
        args.device,
        say=lambda line: print(line, flush=True),
        keep=lambda result: write_json(result, path),
        part=args.part,
    )
    left_out = f"; left out: {', '.join(result['left_out'])}" if result["left_out"] else ""
    print(
        f"{'nothing failed' if result['is_well'] else 'not all passed'} in {result['seconds']:.0f} s{left_out}: {path}"
    )
    return 0 if result["is_well"] else 1


if __name__ == "__main__":
    sys.exit(exit_code(run))
