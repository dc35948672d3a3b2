#!/usr/bin/env python
"""Makes a data set from free packages: python scripts/prepare_data.py debshapes [--packages DIR] [--jobs N] ...

Downloads the Debian packages that hold 3D meshes (apt-get download; no root), or takes .deb files from a folder, and
makes data/debshapes/ of them: points, pictures, names, and what the teachers make of these. A run that was stopped
goes on where it was when it is started again. What is in it, and under which licences: tools/debshapes/README.md.
"""

import argparse
import sys
from pathlib import Path

from pointrecon.utils.program import Parser, exit_code

ROOT = Path(__file__).resolve().parent.parent


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=["debshapes"], help="what to make")
    parser.add_argument("--sources", nargs="+", help="only these; a wrong name lists them; default: all but 0ad")
    parser.add_argument("--packages", type=Path, metavar="DIR", help="folder with .deb files; default: download them")
    parser.add_argument("--jobs", type=int, default=1, help="processes; the result does not depend on it")
    parser.add_argument("--data_root", type=Path, default=ROOT / "data", help="the data set becomes a folder in it")
    parser.add_argument("--leave_out", default="labelled", help="bundled objects to leave out: labelled, all or none")
    parser.add_argument("--per_family", type=int, default=64, help="most shapes whose names differ in numbers only")
    parser.add_argument("--time_limit", type=float, default=60.0, help="seconds for one mesh")
    parser.add_argument("--limit", type=int, help="at most this many meshes a package, for a trial")
    parser.add_argument("--no_teachers", action="store_true", help="leave the teachers' features out")
    parser.add_argument("--keep_work", action="store_true", help="keep the folder of intermediate files")
    return parser.parse_args()


def main() -> None:
    """Makes what the command line asks for."""
    args = parse()
    from pointrecon.tools.debshapes.build import Options, format_summary, prepare
    from pointrecon.tools.debshapes.features import make_features
    from pointrecon.tools.debshapes.select import Rules
    from pointrecon.utils.log import make_logger

    make_logger()
    rules = Rules(args.leave_out, args.per_family, ROOT / "data")
    sources = tuple(args.sources) if args.sources else None
    out = args.data_root / args.dataset
    options = Options(out, sources, args.packages, args.jobs, args.time_limit, rules, args.limit, args.keep_work)
    summary = prepare(options)
    if not args.no_teachers:
        make_features(args.data_root, "DebShapes", args.jobs)
    print(format_summary(summary))


if __name__ == "__main__":
    sys.exit(exit_code(main))
