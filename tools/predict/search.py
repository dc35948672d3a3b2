"""pointrecon search: files that are like words, a picture, another file, or a mixture of these."""

import argparse
import logging
from pathlib import Path
from typing import Any

from pointrecon.tools.predict.inputs import clouds_of, expand, open_model, report_skipped
from pointrecon.tools.predict.outputs import check_out, write
from pointrecon.utils.errors import InputError
from pointrecon.utils.program import Parser

log = logging.getLogger("pointrecon.predict")


def add_parser(commands: Any, shared: Parser) -> None:
    """Registers the command."""
    parser = commands.add_parser(
        "search", parents=[shared], help="find shapes by words, a picture, a shape, or a mixture"
    )
    parser.add_argument("--build", action="store_true", help="embed the inputs into --index first")
    parser.add_argument("--index", default="shapes.index", help="the index file (default: shapes.index)")
    parser.add_argument("--words", help="what to look for, in words")
    parser.add_argument("--like", metavar="FILE", help="a shape to look for")
    parser.add_argument("--picture", metavar="FILE", help="a picture (PNG, WebP, JPEG) of what to look for")
    parser.add_argument("--weight", type=float, default=0.5, help="share of the words in a mixture (default: 0.5)")
    parser.add_argument("--top", type=int, default=10, help="how many to show (default: 10)")
    parser.add_argument("--method", default="auto", help="auto, exact or faiss (default: auto, which is exact)")
    parser.add_argument("--html", metavar="FILE", help="also write a page with pictures of what was found")
    parser.set_defaults(action=do_search)


def do_search(args: argparse.Namespace) -> int:
    """Makes the index if asked, then prints what is nearest."""
    from pointrecon.search import ShapeIndex

    query = {"words": args.words, "shape": args.like, "picture": args.picture}
    query = {name: value for name, value in query.items() if value is not None}
    if args.inputs and not args.build:
        raise InputError("search takes inputs only with --build; give --words, --picture or --like")
    if not query and not args.build:
        raise InputError("there is nothing to search for; give --words, --picture, --like, or several of these")
    if args.html is not None:
        check_out(Path(args.html), (".html",), "--html")
    if args.build:
        check_out(Path(args.index), (Path(args.index).suffix.lower(),), "--index")
    model = open_model(args)
    skipped: dict[str, str] = {}
    if args.build:
        inputs = expand(args.inputs)
        index, skipped = ShapeIndex.build(model, inputs, up=args.up, batch_size=args.batch_size, jobs=args.jobs)
        index.save(args.index)
        log.info(f"{len(index)} shapes in '{args.index}'")
    else:
        index = ShapeIndex.load(args.index)
    if query:
        hits = index.search(model, **query, weight=args.weight, top=args.top, up=args.up, method=args.method)
        write(args.out, {"ids": [hit.id for hit in hits], "score": [round(hit.score, 4) for hit in hits]})
        if args.html is not None:
            from pointrecon.tools.visualize.gallery import write_page

            title = "Search: " + ", ".join(f"{name} {value}" for name, value in query.items())
            ids = [hit.id for hit in hits]
            write_page(args.html, title, ids, [f"{hit.score:.3f}" for hit in hits], clouds_of(ids, args.up))
    return report_skipped(skipped, len(index))
