"""Median and range of several results: python scripts/quickstart_seeds.py experiments/quickstart*/quickstart.json"""

import statistics
import sys
from pathlib import Path

from pointrecon.tools.sweeps.report import ROWS
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import read_json
from pointrecon.utils.program import Parser, exit_code


def main() -> None:
    """Prints the table."""
    parser = Parser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a quickstart.json")
    args = parser.parse_args()
    runs = [read_json(path) for path in args.files]
    try:
        print(f"| {len(runs)} seeds: median (lowest to highest) | all labels | 5 labels a class |")
        print("| --- | --- | --- |")
        for title, *names in ROWS:
            cells = [_cell([run[name] for run in runs]) if name else "" for name in names]
            print(f"| {title} | {' | '.join(cells)} |")
        print(f"\nseconds: {_cell([run['seconds'] for run in runs], digits=0)}")
    except KeyError as error:
        raise InputError(f"a file lacks {error}; give files that scripts/quickstart.sh has written") from error


def _cell(values: list[float], digits: int = 3) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    sys.exit(exit_code(main))
