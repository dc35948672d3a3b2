"""pointrecon classify: files to labels."""

import argparse
from pathlib import Path
from typing import Any

from pointrecon.tools.predict.inputs import clouds_of, expand, open_model, read_labels, report_skipped
from pointrecon.tools.predict.outputs import check_out, write
from pointrecon.utils.program import Parser


def add_parser(commands: Any, shared: Parser) -> None:
    """Registers the command."""
    parser = commands.add_parser(
        "classify",
        parents=[shared],
        help="give each shape one of some labels, or of the classes that a fine-tuned network knows",
    )
    parser.add_argument(
        "--labels",
        help="names between commas, or a text file with one a line; default: the classes of a trained head",
    )
    parser.add_argument("--html", metavar="FILE", help="also write a page with a picture of each shape")
    parser.set_defaults(action=do_classify)


def do_classify(args: argparse.Namespace) -> int:
    """The label and the scores of each file."""
    labels = None if args.labels is None else read_labels(args.labels)
    if args.html is not None:
        check_out(Path(args.html), (".html",), "--html")
    model = open_model(args)
    result = model.classify(expand(args.inputs), labels, up=args.up, batch_size=args.batch_size, jobs=args.jobs)
    columns = {"ids": result.ids, "labels": result.labels, "scores": result.scores}
    write(args.out, columns, names={"scores": result.names})
    if args.html is not None:
        from pointrecon.tools.visualize.gallery import write_page

        captions = [f"{label} ({score:.2f})" for label, score in zip(result.labels, result.scores.max(1), strict=True)]
        write_page(
            args.html,
            f"{len(result.ids)} shapes, {len(result.names)} labels",
            result.ids,
            captions,
            clouds_of(result.ids, args.up),
        )
    return report_skipped(result.skipped, len(result.ids))
