#!/usr/bin/env python
"""Compares this project with the published implementation: python scripts/check_parity.py FOLDER

FOLDER holds weights in the published format and what the published implementation computes with them; an example, and
a description of its files, is tests/fixtures/official_tiny (reconpp_tiny for ReCon++, alternatives_tiny for Uni3D,
OpenShape-PointBERT and ULIP-2). Prints the largest difference of every output, loss,
gradient and running statistic. Exit code: 0 all within tolerance, 1 one is not, 2 bad input.
"""

import argparse
import sys
from pathlib import Path

from pointrecon.tools.checkpoints.parity import compare, not_compared
from pointrecon.tools.open.parity import compare_open, is_open_fixture
from pointrecon.tools.open.parity_files import compare_files, is_file_fixture
from pointrecon.tools.reconpp.parity import compare_reconpp, is_reconpp_fixture
from pointrecon.utils.program import Parser, exit_code


def main() -> int:
    """Returns the exit code."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="folder with the weights and the expected numbers")
    folder = parser.parse_args().folder
    if is_open_fixture(folder):
        comparisons, skipped = compare_open(folder)
        precision = "embeddings in float32; what comes before them in float64"
    elif is_file_fixture(folder):
        comparisons, skipped = compare_files(folder)
        precision = "what is read of the files: 0 where it is the same"
    elif is_reconpp_fixture(folder):
        comparisons, skipped = compare_reconpp(folder)
        precision = "zeroshot.* in float32, the rest in float64; gradients by relative L2 norm; choices by their number"
    else:
        comparisons = compare(folder)
        skipped = not_compared(folder, comparisons)
        precision = (
            "outputs and losses in float32; out.train.total, gradients (relative L2) and running statistics in float64"
        )
    print(*comparisons, sep="\n")
    print(precision)
    if skipped:
        print(f"not compared, since the true gradient is zero or the name is not known: {', '.join(skipped)}")
    wrong = [comparison for comparison in comparisons if not comparison.is_within]
    worst = max(comparisons, key=lambda comparison: comparison.difference / comparison.tolerance)
    print(f"{len(comparisons) - len(wrong)} of {len(comparisons)} within tolerance; nearest to its limit or past it:")
    print(*(wrong or [worst]), sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
