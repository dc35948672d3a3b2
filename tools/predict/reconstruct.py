"""pointrecon reconstruct: files to rebuilt points."""

import argparse
from typing import Any

from pointrecon.tools.predict.inputs import expand, open_model, report_skipped
from pointrecon.tools.predict.outputs import SUFFIXES, write
from pointrecon.utils.program import Parser


def add_parser(commands: Any, shared: Parser) -> None:
    """Registers the command."""
    parser = commands.add_parser(
        "reconstruct", parents=[shared], help="hide patches, rebuild them, write the points or, to .png, a picture"
    )
    parser.add_argument("--mask_ratio", type=float, default=0.6, help="share of patches that is hidden (default: 0.6)")
    parser.set_defaults(action=do_reconstruct, out_suffixes=(*SUFFIXES, ".png"))


def do_reconstruct(args: argparse.Namespace) -> int:
    """Points, visible points, rebuilt points and the Chamfer distance of each file."""
    result = open_model(args).reconstruct(expand(args.inputs), mask_ratio=args.mask_ratio, up=args.up)
    if args.out is not None and args.out.endswith(".png"):
        from pointrecon.tools.visualize.gallery import write_reconstructions

        write_reconstructions(args.out, result, args.mask_ratio)
    else:
        write(args.out, result)
    return report_skipped(result["skipped"], len(result["ids"]))
