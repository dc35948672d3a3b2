"""pointrecon search: files that are like words, or like another file."""

import argparse
import logging
from typing import Any

from pointrecon.tools.predict.inputs import expand, open_model, report_skipped
from pointrecon.tools.predict.outputs import write
from pointrecon.utils.errors import InputError
from pointrecon.utils.program import Parser

log = logging.getLogger("pointrecon.predict")


def add_parser(commands: Any, shared: Parser) -> None:
    """Registers the command."""
    parser = commands.add_parser("search", parents=[shared], help="find shapes by words, by a shape, or by both")
    parser.add_argument("--build", action="store_true", help="embed the inputs into --index first")
    parser.add_argument("--index", default="shapes.index.npz", help="the index file (default: shapes.index.npz)")
    parser.add_argument("--words", help="what to look for, in words")
    parser.add_argument("--like", metavar="FILE", help="a shape to look for")
    parser.add_argument("--weight", type=float, default=0.5, help="share of the words if both are given (default: 0.5)")
    parser.add_argument("--top", type=int, default=10, help="how many to show (default: 10)")
    parser.set_defaults(action=do_search)


def do_search(args: argparse.Namespace) -> int:
    """Makes the index if asked, then prints what is nearest."""
    from pointrecon.search import ShapeIndex

    model = open_model(args)
    skipped: dict[str, str] = {}
    if args.build:
        index, skipped = ShapeIndex.build(model, expand(args.inputs), up=args.up, jobs=args.jobs)
        index.save(args.index)
        log.info(f"{len(index)} shapes in '{args.index}'")
    elif args.inputs:
        raise InputError("search takes inputs only with --build; give --words or --like")
    else:
        index = ShapeIndex.load(args.index)
    if args.words is not None or args.like is not None:
        hits = index.search(model, words=args.words, shape=args.like, weight=args.weight, top=args.top, up=args.up)
        write(args.out, {"ids": [hit.id for hit in hits], "score": [round(hit.score, 4) for hit in hits]})
    elif not args.build:
        raise InputError("there is nothing to search for; give --words, --like, or both")
    return report_skipped(skipped, len(index))
