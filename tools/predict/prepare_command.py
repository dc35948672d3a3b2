"""pointrecon prepare: getting data ready, the same as scripts/prepare_data.py."""

import argparse
from typing import Any

from pointrecon.tools.prepare.command import run


def add_parser(commands: Any, shared: Any) -> None:
    """Adds the command; its flags are those of `tools.prepare`, which reads them itself."""
    parser = commands.add_parser("prepare", help="own folders, packed files, pictures, splits", add_help=False)

    def take_all(args: list[str], namespace: Any = None) -> tuple[argparse.Namespace, list[str]]:
        return argparse.Namespace(action=do_prepare, rest=list(args)), []

    parser.parse_known_args = take_all


def do_prepare(args: argparse.Namespace) -> int:
    """prepare: whatever follows it."""
    return run(args.rest, prog="pointrecon prepare")
