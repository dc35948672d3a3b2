"""pointrecon embed: files to embeddings."""

import argparse
from typing import Any

from pointrecon.tools.predict.inputs import expand, open_model, report_skipped
from pointrecon.tools.predict.outputs import write
from pointrecon.utils.program import Parser


def add_parser(commands: Any, shared: Parser) -> None:
    """Registers the command."""
    parser = commands.add_parser("embed", parents=[shared], help="write `embeddings` (n, D) float32 and `ids`")
    parser.set_defaults(action=do_embed)


def do_embed(args: argparse.Namespace) -> int:
    """A row a file."""
    result = open_model(args).embed(expand(args.inputs), up=args.up, batch_size=args.batch_size, jobs=args.jobs)
    write(args.out, {"ids": result.ids, "embeddings": result.embeddings})
    return report_skipped(result.skipped, len(result.ids))
