"""pointrecon export: a network as a file that runs without this project."""

import argparse
import logging
from typing import Any

from pointrecon.tools.predict.inputs import open_model
from pointrecon.utils.program import Parser

log = logging.getLogger("pointrecon.predict")


def add_parser(commands: Any, shared: Parser) -> None:
    """Registers the command; it takes no files, so it shares no flags."""
    del shared
    parser = commands.add_parser("export", help="write the embedder as .onnx or .pt2, to run without this project")
    parser.add_argument("--ckpt", "--model", dest="ckpt", required=True, help="checkpoint, or name of a model")
    parser.add_argument("--to", required=True, metavar="FILE", help="file to write: .onnx or .pt2")
    parser.set_defaults(action=do_export, device="cpu")


def do_export(args: argparse.Namespace) -> int:
    """One file, patches included."""
    from pointrecon.tools.predict.portable import export_embedder

    model = open_model(args)
    export_embedder(model.network, args.to, num_points=model.num_points)
    out_dim = getattr(model.network, "out_dim", None)  # of an open-vocabulary encoder
    channels, width = (3, 2 * model.embed_dim) if out_dim is None else (6, out_dim)
    log.info(f"'{args.to}': points (batch, n, {channels}) -> embedding (batch, {width})")
    return 0
