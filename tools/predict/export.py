"""pointrecon export: a network as a file that runs without this project."""

import argparse
import logging
from typing import Any

from pointrecon.tools.predict.inputs import open_model
from pointrecon.utils.errors import InputError
from pointrecon.utils.program import Parser

log = logging.getLogger("pointrecon.predict")
WHAT = ("auto", "embedder", "classifier")


def add_parser(commands: Any, shared: Parser) -> None:
    """Registers the command; it takes no files, so it shares no flags."""
    del shared
    parser = commands.add_parser("export", help="write the network as .onnx or .pt2, to run without this project")
    parser.add_argument("--ckpt", "--model", dest="ckpt", required=True, help="checkpoint, or name of a model")
    parser.add_argument("--to", required=True, metavar="FILE", help="file to write: .onnx or .pt2")
    parser.add_argument(
        "--what",
        choices=WHAT,
        default="auto",
        help="default: the classifier if it has a trained head, else the embedder",
    )
    parser.add_argument("--check", action="store_true", help="compare the .onnx file with the network on 100 shapes")
    parser.set_defaults(action=do_export, device="cpu")
    push = commands.add_parser("push", help="write a model as model hubs keep it, into a folder or to a hub")
    push.add_argument("--ckpt", "--model", dest="ckpt", required=True, help="checkpoint, or name of a model")
    push.add_argument("--to", required=True, metavar="PLACE", help="folder, or hf://OWNER/NAME")
    push.add_argument("--licence", default="other", help="of the weights, by the hub's short names, such as mit")
    push.add_argument("--private", action="store_true", help="a new repository of the hub is for its owner alone")
    push.set_defaults(action=do_push, device="cpu")


def do_push(args: argparse.Namespace) -> int:
    """A folder with weights, config and model card, or the same on a hub."""
    from pointrecon.hub import HUB

    model = open_model(args)
    if args.to.startswith(HUB):
        log.info(model.push_to_hub(args.to.removeprefix(HUB), private=args.private, licence=args.licence))
    else:
        log.info(f"'{model.save_pretrained(args.to, licence=args.licence)}': load_model takes this folder")
    return 0


def do_export(args: argparse.Namespace) -> int:
    """One file, patches included."""
    from pointrecon.tools.predict import portable

    model = open_model(args)
    names = model.class_names
    is_classifier = bool(names) and args.what != "embedder"
    if args.what == "classifier" and not names:
        raise InputError(f"'{args.ckpt}' has no trained classification head; give a fine-tuned checkpoint")
    if args.check and not args.to.endswith(".onnx"):
        raise InputError(f"--check compares .onnx files, but --to is '{args.to}'")
    out_dim = getattr(model.network, "out_dim", None)  # of an open-vocabulary encoder
    channels, width = (3, 2 * model.embed_dim) if out_dim is None else (6, out_dim)
    if is_classifier:
        network = portable.ExportedClassifier(model.network)
        portable.export_network(network, args.to, num_points=model.num_points, class_names=names)
    else:
        portable.export_embedder(model.network, args.to, num_points=model.num_points)
    what = f"probabilities (batch, {len(names)})" if is_classifier else f"embedding (batch, {width})"
    log.info(f"'{args.to}': points (batch, n, {channels}) -> {what}")
    if args.check:
        found = portable.compare_with(model.network, args.to, num_points=model.num_points)
        log.info(
            f"100 shapes: largest difference {found.difference:.1e}, {found.decisions:.0%} the same decisions, "
            f"{found.rate:.2f} times as fast as torch"
        )
        return int(found.difference > 1e-4 or found.decisions < 1)
    return 0
