"""Collects the runs of scripts/quickstart.sh: quickstart.json, a table and the pictures in one folder."""

import sys
from pathlib import Path

from pointrecon.tools.sweeps.report import collect_quickstart, format_table, gather_pictures
from pointrecon.utils.files.io import write_json
from pointrecon.utils.program import Parser, exit_code


def main() -> None:
    """Collects, prints and says what it wrote."""
    parser = Parser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="seed of the runs")
    parser.add_argument("--root", type=Path, default=Path("experiments"), help="folder with the run folders")
    parser.add_argument("--out", type=Path, default=Path("experiments/quickstart"), help="folder to write")
    parser.add_argument("--seconds", type=float, default=None, help="how long all runs took together")
    args = parser.parse_args()
    summary = collect_quickstart(args.root, args.seed, args.seconds)
    write_json(summary, args.out / "quickstart.json")
    pictures = gather_pictures(args.root, args.seed, args.out, summary)
    print(format_table(summary))
    print(f"results: {args.out / 'quickstart.json'}")
    print("pictures:", *(f"  {path}" for path in pictures), sep="\n")


if __name__ == "__main__":
    sys.exit(exit_code(main))
