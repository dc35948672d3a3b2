"""pointrecon reconstruct: files to rebuilt points."""

import argparse
from typing import Any

from pointrecon.tools.predict.inputs import expand, open_model, report_skipped
from pointrecon.tools.predict.outputs import write
from pointrecon.utils.program import Parser


def add_parser(commands: Any, shared: Parser) -> None:
    """Registers the command."""
    parser = commands.add_parser("reconstruct", parents=[shared], help="hide patches, rebuild them, write the points")
    parser.add_argument("--mask_ratio", type=float, default=0.6, help="share of patches that is hidden (default: 0.6)")
    parser.set_defaults(action=do_reconstruct)


def do_reconstruct(args: argparse.Namespace) -> int:
    """Points, visible points, rebuilt points and the Chamfer distance of each file."""
    result = open_model(args).reconstruct(expand(args.inputs), mask_ratio=args.mask_ratio, up=args.up)
    write(args.out, result)
    return report_skipped(result["skipped"], len(result["ids"]))
