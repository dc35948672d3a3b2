#!/usr/bin/env python
"""Makes data sets: python scripts/prepare_data.py debshapes | fewshot | shards [options]; each has --help.

python scripts/prepare_data.py debshapes --jobs 2                 a pretraining set from free packages
python scripts/prepare_data.py fewshot --seed 0                   few-shot folds of ModelNet40
python scripts/prepare_data.py shards --config CFG --out DIR      a data set as tar files
"""

import argparse
import sys
from pathlib import Path

from pointrecon.utils.program import Parser, exit_code

ROOT = Path(__file__).resolve().parent.parent
DEBSHAPES = """Makes DebShapes from free packages. Downloads the Debian packages that hold 3D meshes (apt-get download;
no root), or takes .deb files from a folder, and makes data/debshapes/ of them: points, pictures, names, and what the
teachers make of these. A run that was stopped goes on where it was when it is started again. What is in it, and under
which licences: tools/debshapes/README.md."""
FEWSHOT = """Draws the few-shot folds of ModelNet40. Four settings (5 or 10 classes, 10 or 20 labelled objects of each,
20 test objects of each) with ten folds each, about 1 GB, in the layout that published code reads too. The same seed
draws the same folds."""
SHARDS = """Writes a data set into shards: tar files in WebDataset's layout with the points and the cached features of
the config's teachers. Train from them with cfgs/pretrain/shards.yaml. A call that was interrupted goes on where it
stopped if it is repeated."""


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="dataset", required=True, metavar="debshapes | fewshot | shards")
    _add_debshapes(kinds.add_parser("debshapes", description=DEBSHAPES))
    _add_fewshot(kinds.add_parser("fewshot", description=FEWSHOT))
    _add_shards(kinds.add_parser("shards", description=SHARDS))
    args, rest = parser.parse_known_args()
    wrong = next((word for word in rest if args.dataset != "shards" or word.startswith("-") or "=" not in word), None)
    if wrong is not None:
        parser.error(f"'{wrong}' is not known here")
    args.overrides = rest
    return args


def _add_debshapes(parser: argparse.ArgumentParser) -> None:
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


def _add_fewshot(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data_root", default=str(ROOT / "data"), help="folder that has ModelNet40 in it")
    parser.add_argument("--out", help="folder for the settings; default: <data_root>/ModelNetFewshot")
    parser.add_argument("--ways", type=int, nargs="+", default=[5, 10], help="numbers of classes")
    parser.add_argument("--shots", type=int, nargs="+", default=[10, 20], help="labelled objects a class")
    parser.add_argument("--folds", type=int, default=10, help="draws a setting")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--source", default="auto", help="form of the ModelNet40 files: auto, dat, txt, hdf5")
    parser.add_argument("--num_stored", type=int, default=8192, help="points an object of the forms dat and txt")


def _add_shards(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s --config CFG --out DIR [--shard_size N] [--splits SPLIT ...] [key=value ...]"
    parser.add_argument("--config", required=True, help="YAML file that names the data set and the teachers")
    parser.add_argument("--out", required=True, help="folder; <data_root>/shards is where data.type=Shards looks")
    parser.add_argument("--shard_size", type=int, default=1000, help="samples of a shard")
    parser.add_argument("--splits", nargs="+", default=["pretrain", "test"], help="which splits to write")


def make_debshapes(args: argparse.Namespace) -> None:
    """Makes DebShapes."""
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


def make_fewshot(args: argparse.Namespace) -> None:
    """Draws few-shot folds."""
    from pointrecon.datasets.modelnet.fewshot import make_folds

    settings = [(way, shots) for way in args.ways for shots in args.shots]
    paths = make_folds(args.data_root, args.out, settings, args.folds, args.seed, args.source, args.num_stored)
    print(f"{len(paths)} folds in '{paths[0].parent.parent}'" if paths else "no fold was asked for")


def make_shards(args: argparse.Namespace) -> None:
    """Writes shards."""
    from pointrecon.tools.shards import make_shards as write_shards
    from pointrecon.utils.config import load_config

    counts = write_shards(load_config(args.config, args.overrides), Path(args.out), args.splits, args.shard_size)
    for split, count in counts.items():
        print(f"{Path(args.out) / split}: {count} samples")


def main() -> None:
    """Makes what the command line asks for."""
    args = parse()
    {"debshapes": make_debshapes, "fewshot": make_fewshot, "shards": make_shards}[args.dataset](args)


if __name__ == "__main__":
    sys.exit(exit_code(main))
