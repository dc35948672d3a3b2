"""Using a trained network from the shell: pointrecon embed|classify|search|reconstruct|export ...

The same as `python -m tools.predict ...` in a checkout. Exit codes: 0 all files were read; 1 some were skipped, each
named, and the rest is done; 2 bad input.
"""

import argparse
import csv
import glob
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pointrecon.utils.errors import InputError
from pointrecon.utils.program import Parser, exit_code

if TYPE_CHECKING:
    from pointrecon.model import ShapeModel

log = logging.getLogger("pointrecon.predict")
SUFFIXES = (".npz", ".h5", ".csv", ".jsonl", ".parquet")


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    return exit_code(lambda: run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """Does what the command line says; returns the exit code."""
    args = make_parser().parse_args(argv)
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    if args.out is not None:
        _check_out(Path(args.out))
    return int(args.action(args))


def make_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="pointrecon", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)
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
    embed = commands.add_parser("embed", parents=[shared], help="write `embeddings` (n, D) float32 and `ids`")
    embed.set_defaults(action=do_embed)
    classify = commands.add_parser("classify", parents=[shared], help="give each shape the nearest of some labels")
    classify.add_argument("--labels", required=True, help="names between commas, or a text file with one a line")
    classify.set_defaults(action=do_classify)
    search = commands.add_parser("search", parents=[shared], help="find shapes by words, by a shape, or by both")
    search.add_argument("--build", action="store_true", help="embed the inputs into --index first")
    search.add_argument("--index", default="shapes.index.npz", help="the index file (default: shapes.index.npz)")
    search.add_argument("--words", help="what to look for, in words")
    search.add_argument("--like", metavar="FILE", help="a shape to look for")
    search.add_argument("--weight", type=float, default=0.5, help="share of the words if both are given (default: 0.5)")
    search.add_argument("--top", type=int, default=10, help="how many to show (default: 10)")
    search.set_defaults(action=do_search)
    rebuild = commands.add_parser("reconstruct", parents=[shared], help="hide patches, rebuild them, write the points")
    rebuild.add_argument("--mask_ratio", type=float, default=0.6, help="share of patches that is hidden (default: 0.6)")
    rebuild.set_defaults(action=do_reconstruct)
    export = commands.add_parser("export", help="write the embedder as .onnx or .pt2, to run without this project")
    export.add_argument("--ckpt", "--model", dest="ckpt", required=True, help="checkpoint, or name of a model")
    export.add_argument("--to", required=True, metavar="FILE", help="file to write: .onnx or .pt2")
    export.set_defaults(action=do_export, out=None, device="cpu")
    return parser


def do_embed(args: argparse.Namespace) -> int:
    """embed: a row a file."""
    result = _load(args).embed(expand(args.inputs), up=args.up, batch_size=args.batch_size, jobs=args.jobs)
    _write(args.out, {"ids": result.ids, "embeddings": result.embeddings})
    return report_skipped(result.skipped, len(result.ids))


def do_classify(args: argparse.Namespace) -> int:
    """classify: the label and the scores of each file."""
    labels = read_labels(args.labels)
    model = _load(args)
    result = model.classify(expand(args.inputs), labels, up=args.up, batch_size=args.batch_size, jobs=args.jobs)
    _write(args.out, {"ids": result.ids, "labels": result.labels, "scores": result.scores, "names": result.names})
    return report_skipped(result.skipped, len(result.ids))


def do_search(args: argparse.Namespace) -> int:
    """search: makes the index if asked, then prints what is nearest."""
    from pointrecon.search import ShapeIndex

    model = _load(args)
    skipped: dict[str, str] = {}
    if args.build:
        index, skipped = ShapeIndex.build(model, expand(args.inputs), up=args.up, jobs=args.jobs)
        index.save(args.index)
        log.info(f"{len(index)} shapes in '{args.index}'")
    elif args.inputs:
        raise InputError("search takes inputs only with --build; give --words or --like")
    else:
        index = ShapeIndex.load(args.index)
    if args.words is not None or args.like is not None:
        hits = index.search(model, words=args.words, shape=args.like, weight=args.weight, top=args.top, up=args.up)
        _write(args.out, {"ids": [hit.id for hit in hits], "score": [round(hit.score, 4) for hit in hits]})
    elif not args.build:
        raise InputError("there is nothing to search for; give --words, --like, or both")
    return report_skipped(skipped, len(index))


def do_reconstruct(args: argparse.Namespace) -> int:
    """reconstruct: points, visible points, rebuilt points and the Chamfer distance of each file."""
    result = _load(args).reconstruct(expand(args.inputs), mask_ratio=args.mask_ratio, up=args.up)
    _write(args.out, result)
    return report_skipped(result["skipped"], len(result["ids"]))


def do_export(args: argparse.Namespace) -> int:
    """export: one file, patches included."""
    from pointrecon.tools.predict.export import export_embedder

    model = _load(args)
    export_embedder(model.network, args.to, num_points=model.num_points)
    log.info(f"'{args.to}': points (batch, n, 3) -> embedding (batch, {2 * model.embed_dim})")
    return 0


def expand(inputs: Sequence[str]) -> list[str]:
    """The files of a command line: patterns are filled in, - stands for names on standard input.

    Raises:
        InputError: Nothing is given, or a pattern fits nothing.
    """
    names: list[str] = []
    for item in inputs:
        if item == "-":
            names += [line.strip() for line in sys.stdin if line.strip()]
        elif any(sign in item for sign in "*?[") and not Path(item).exists():
            found = sorted(glob.glob(item, recursive=True))
            if not found:
                raise InputError(f"no file fits '{item}'")
            names += found
        else:
            names.append(item)
    if not names:
        raise InputError("no input is given; name files, folders or patterns, or - for names on standard input")
    return names


def read_labels(text: str) -> list[str]:
    """Names between commas, or the lines of a text file.

    Raises:
        InputError: There is none.
    """
    path = Path(text)
    is_file = len(text) < 1000 and path.is_file()
    parts = path.read_text(encoding="utf-8-sig").splitlines() if is_file else text.split(",")
    labels = [part.strip() for part in parts if part.strip()]
    if not labels:
        raise InputError(f"--labels '{text}' names no label; give --labels chair,table or a text file")
    return labels


def report_skipped(skipped: Mapping[str, str], num_read: int) -> int:
    """Names each file that was skipped; returns the exit code."""
    for name, why in skipped.items():
        log.warning(f"skipped '{name}': {why}")
    if skipped:
        log.warning(f"{num_read} read, {len(skipped)} skipped")
    return 1 if skipped else 0


def _load(args: argparse.Namespace) -> "ShapeModel":
    from pointrecon.encoders import load_model
    from pointrecon.tools.context import find_device

    return load_model(args.ckpt, device=find_device(args.device))


def _check_out(path: Path) -> None:
    """Found out before the work, not after it."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"--out is '{path}', but must end with one of: {' '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise InputError(f"the folder of --out '{path}' is not there; make it first")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"the folder of --out '{path}' cannot be written")


def _write(out: str | None, columns: Mapping[str, Any]) -> None:
    """Columns to a file by its suffix, or as JSON lines to standard output."""
    import numpy as np

    from pointrecon.utils.files.io import atomic_write

    arrays: dict[str, Any] = {name: np.asarray(values) for name, values in columns.items() if name != "skipped"}
    count = len(arrays["ids"])
    if out is None:
        sys.stdout.writelines(_lines(arrays, count))
        return
    suffix = Path(out).suffix.lower()
    with atomic_write(out) as temporary:
        if suffix == ".npz":
            with temporary.open("wb") as file:
                np.savez(file, **arrays)
        elif suffix == ".h5":
            import h5py

            with h5py.File(temporary, "w") as store:
                for name, array in arrays.items():
                    store[name] = array.astype(object) if array.dtype.kind == "U" else array
        elif suffix == ".jsonl":
            with temporary.open("w", encoding="utf-8") as text:
                text.writelines(_lines(arrays, count))
        elif suffix == ".csv":
            with temporary.open("w", encoding="utf-8", newline="") as text:
                csv.writer(text).writerows(_rows(arrays, count))
        else:
            _write_parquet(temporary, arrays, count)


def _lines(arrays: Mapping[str, Any], count: int) -> list[str]:
    rows = (
        {name: array[row].tolist() for name, array in arrays.items() if len(array) == count} for row in range(count)
    )
    return [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]


def _rows(arrays: Mapping[str, Any], count: int) -> list[list[Any]]:
    """A header and a row a shape; arrays become a column for each of their values."""
    names = [name for name, array in arrays.items() if len(array) == count and array.ndim <= 2]
    header = [
        f"{name}_{column}" if arrays[name].ndim == 2 else name
        for name in names
        for column in range(arrays[name].shape[1] if arrays[name].ndim == 2 else 1)
    ]
    body = [[value for name in names for value in arrays[name][row].reshape(-1).tolist()] for row in range(count)]
    return [header, *body]


def _write_parquet(path: Path, arrays: Mapping[str, Any], count: int) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(
            "--out .parquet needs the package pyarrow; run: pip install pyarrow, or choose .npz"
        ) from error
    columns = {name: list(array) for name, array in arrays.items() if len(array) == count}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
