"""Feeds spoilt files to everything that reads what users bring: python -m tests.fuzzing [--target all]

Every case is a valid set of files with a few changes. It must be refused with an InputError or give a result that can
be right; anything else, a crash and a hang included, is a finding. Exit code: 0 no findings, 1 some, 2 bad input.
"""

import argparse
import functools
import sys
from pathlib import Path

from pointrecon.utils.files.io import read_json, write_json
from pointrecon.utils.program import Parser, exit_code
from tests.fuzzing.fuzz import fuzz, summarize
from tests.fuzzing.record import add_results
from tests.fuzzing.targets import TARGETS


def main() -> int:
    """Returns the exit code."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--target", default="all", help=f"{', '.join(TARGETS)}; several with commas; or all")
    parser.add_argument("--count", type=int, default=10_000, help="cases of each target")
    parser.add_argument("--seconds", type=float, help="stop a target after this time")
    parser.add_argument("--seed", type=int, default=0, help="chooses the cases")
    parser.add_argument("--start", type=int, default=0, help="number of the first case; with --count 1, repeats one")
    parser.add_argument("--json", help="file for everything that was found; one that is there is added to")
    args = parser.parse_args()
    targets = list(TARGETS) if args.target == "all" else args.target.split(",")
    command = ["python", "-m", "tests.fuzzing", *sys.argv[1:]]
    tell = functools.partial(print, flush=True)
    result = fuzz(targets, args.count, args.seconds, args.seed, command, tell, args.start)
    if args.json:
        old = read_json(args.json) if Path(args.json).exists() else {}
        write_json(add_results(old, result), args.json)
    print(summarize(result))
    return 1 if result["findings"] else 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
