"""Figures from checkpoints, and their numbers as JSON beside them.

python -m pointrecon.tools.visualize.analysis cka experiments/core/*/*/recon-pretrain-p0 NAME=other.pth
python -m pointrecon.tools.visualize.analysis all RUN [RUN ...] --out figures data_root=data
python -m pointrecon.tools.visualize.analysis share cfgs/ablation/switches.yaml --metrics svm finetune
"""

import argparse
import importlib
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pointrecon.tools.visualize import FORMATS
from pointrecon.utils.errors import InputError
from pointrecon.utils.program import Parser, exit_code

OF_NETWORKS = ("attention", "losses", "cka", "gradients", "reconstruction")
SHARE = "share"
log = logging.getLogger("pointrecon.analysis")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser("python -m pointrecon.tools.visualize.analysis", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("figure", choices=(*OF_NETWORKS, "all", SHARE))
    parser.add_argument("places", nargs="+", metavar="RUN", help="folder, checkpoint or NAME=PATH; share: TABLE.yaml")
    parser.add_argument("--set", nargs="+", default=[], metavar="key=value", help="for the configs of all networks")
    parser.add_argument("--out", type=Path, default=Path("analysis"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--objects", type=int, metavar="N", help="objects at most; default: as each figure needs")
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="of the files (default: %(default)s)")
    parser.add_argument("--untitled", action="store_true", help="no titles in the pictures, for papers")
    parser.add_argument("--key", default="data.options.ratio", help="share: drawn against (default: %(default)s)")
    parser.add_argument("--by", default="model.stop_grad", help="share: a line for each value (default: %(default)s)")
    parser.add_argument("--metrics", nargs="+", default=[], metavar="NAME", help="share: which; default: three")
    parser.add_argument("--rows", nargs="+", default=[], metavar="ROW", help="share: which; default: all")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="share: folder of the runs, if not the table's")
    parser.add_argument("--any-code", action="store_true", help="share: count runs of another version of the code")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Draws what is asked for, and says which files were written."""
    if args.objects is not None and args.objects < 2:
        raise InputError(f"--objects is {args.objects}, but must be at least 2")
    if args.figure == SHARE:
        if len(args.places) != 1:
            raise InputError(f"share takes one TABLE.yaml, but {len(args.places)} were given")
        from pointrecon.tools.visualize.analysis import share

        options = {"key": args.key, "by": args.by or None, "metrics": args.metrics, "rows": args.rows}
        found = share.measure(args.places[0], **options, out=args.runs, any_code=args.any_code)
        _write(share.draw_share, found, SHARE, args, {"table": args.places[0]})
        return
    from pointrecon.tools.visualize.analysis.subjects import open_subjects

    subjects = open_subjects(args.places, args.set)
    files = {subject.name: str(subject.path) for subject in subjects}
    problems = []
    for name in OF_NETWORKS if args.figure == "all" else (args.figure,):
        module = importlib.import_module(f"pointrecon.tools.visualize.analysis.{name}")
        options = {} if args.objects is None else {"count": args.objects}
        if name == "gradients" and options:
            size = subjects[0].config["batch_size"]
            options = {"num_batches": max(args.objects // size, 1), "batch_size": min(size, args.objects)}
        try:
            found = module.measure(subjects, **options)
        except InputError as error:
            problems.append(f"{name}: {error}")
            continue
        _write(getattr(module, f"draw_{name}"), found, name, args, {"checkpoints": files, "set": args.set})
    if problems:
        raise InputError("; ".join(problems))


def _write(
    draw: Callable[..., Path], found: Mapping[str, Any], name: str, args: argparse.Namespace, facts: Mapping[str, Any]
) -> None:
    from pointrecon.tools.visualize.analysis.panels import numbers
    from pointrecon.utils.files.io import write_json

    args.out.mkdir(parents=True, exist_ok=True)
    picture = draw(found, args.out / f"{name}.{args.format}", has_title=not args.untitled)
    write_json({"figure": name, **facts, "numbers": numbers(found)}, picture.with_suffix(".json"))
    sys.stdout.write(f"{picture}\n{picture.with_suffix('.json')}\n")


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0 done, 2 bad input."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    return exit_code(lambda: run(parse(argv)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
