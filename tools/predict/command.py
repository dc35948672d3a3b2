"""Using a trained network from the shell: pointrecon embed|classify|search|reconstruct|export|prepare ...

The same as `python -m pointrecon.tools.predict ...` in a checkout. Exit codes: 0 all files were read; 1 some were
skipped, each named, and the rest is done; 2 bad input.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pointrecon.tools.predict import classify, embed, export, prepare_command, reconstruct, search
from pointrecon.tools.predict.outputs import SUFFIXES, check_out
from pointrecon.tools.report import command as report
from pointrecon.utils.program import Parser, exit_code

# Modules with `add_parser(commands, shared)`; what takes long to import is imported by the action, not by the module.
COMMANDS = (embed, classify, search, reconstruct, export, report, prepare_command)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    return exit_code(lambda: run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """Does what the command line says; returns the exit code."""
    args = make_parser().parse_args(argv)
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    if getattr(args, "out_suffixes", ()) and args.out is not None:
        check_out(Path(args.out), args.out_suffixes)
    return int(args.action(args))


def make_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="pointrecon", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)
    shared = make_shared()
    for module in COMMANDS:
        module.add_parser(commands, shared)
    return parser


def make_shared() -> Parser:
    """The flags of every command that runs a network over files."""
    shared = Parser(add_help=False)
    shared.add_argument(
        "inputs", nargs="*", help="files, folders, CSV tables, patterns, or - for names on standard input"
    )
    shared.add_argument("--ckpt", "--model", dest="ckpt", required=True, help="checkpoint, or name of a model")
    shared.add_argument("--out", help=f"file to write ({' '.join(SUFFIXES)}); default: standard output as JSON lines")
    shared.add_argument("--up", default="y", help="up axis of the files: y, z, -y, -z, x, -x or auto (default: y)")
    shared.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes that read files")
    shared.add_argument("--batch_size", type=int, default=32, help="shapes in a forward pass")
    shared.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    shared.set_defaults(out_suffixes=SUFFIXES)
    return shared
