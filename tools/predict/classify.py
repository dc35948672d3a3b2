"""pointrecon classify: files to labels."""

import argparse
from typing import Any

from pointrecon.tools.predict.inputs import expand, open_model, read_labels, report_skipped
from pointrecon.tools.predict.outputs import write
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
    parser.set_defaults(action=do_classify)


def do_classify(args: argparse.Namespace) -> int:
    """The label and the scores of each file."""
    labels = None if args.labels is None else read_labels(args.labels)
    model = open_model(args)
    result = model.classify(expand(args.inputs), labels, up=args.up, batch_size=args.batch_size, jobs=args.jobs)
    write(args.out, {"ids": result.ids, "labels": result.labels, "scores": result.scores, "names": result.names})
    return report_skipped(result.skipped, len(result.ids))
