#!/usr/bin/env python
"""A zero-shot table of any models: python scripts/zero_shot_table.py MODEL ... --data FOLDER ... [--out DIR]

MODEL is a checkpoint or a name of pointrecon.list_models(), called NAME=MODEL in the table if so written. FOLDER holds
the zero-shot files of OpenShape (meta_data), Uni3D (uni3d_data) or ULIP-2. Prints Markdown; --out also writes
zero_shot.{md,tex,json}. Both conventions of the stored axes are tried and named; nothing is chosen by its result.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pointrecon.datasets.open.test_sets import test_part
from pointrecon.datasets.open.zero_shot import LVIS, SCAN, ZeroShotSet, find_zero_shot_sets
from pointrecon.tools.open.changes import AS_STORED, CHANGES
from pointrecon.tools.open.class_features import read_class_features
from pointrecon.tools.open.table import format_latex, format_markdown
from pointrecon.tools.open.zero_shot import Score, evaluate
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write, read_json, write_json
from pointrecon.utils.program import Parser, exit_code


def parse() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="checkpoint or name, or NAME=checkpoint")
    parser.add_argument("--data", nargs="+", required=True, type=Path, metavar="FOLDER")
    parser.add_argument("--sets", nargs="+", metavar="NAME", help="only these, such as Objaverse-LVIS (default: all)")
    parser.add_argument("--up", nargs="+", default=["y", "z"], metavar="AXIS", help="axes taken for up (default: y z)")
    parser.add_argument("--robustness", action="store_true", help="no colour, 1,024 points, half, noise, any rotation")
    parser.add_argument("--scanobjectnn", choices=("test", "all"), default="test", help="which objects of a mixed file")
    parser.add_argument("--scanobjectnn-test", type=Path, metavar="H5", help="published test file that names them")
    parser.add_argument("--trained-on", type=Path, metavar="JSON", help="list of training objects: LVIS in two parts")
    parser.add_argument("--class-features", type=Path, metavar="NPZ", help="`names` and `features` (C, E) of classes")
    parser.add_argument("--skip-missing", action="store_true", help="leave out and count objects without a file")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N objects of each set, evenly drawn")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=NUMBER", help="such as num_heads=6")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--out", type=Path, metavar="DIR")
    return parser.parse_args()


def main() -> int:
    """Returns the exit code."""
    args = parse()
    sets = find_sets(args)
    options = dict(parse_option(text) for text in args.option)
    scores: list[Score] = []
    for given in args.models:
        name, _, path = given.rpartition("=")
        scores += score_model(name or Path(path).stem, path, sets, args, options)
    text = format_markdown(scores)
    print(text, end="")
    if args.out is not None:
        for suffix, content in ((".md", text), (".tex", format_latex(scores))):
            with atomic_write(args.out / f"zero_shot{suffix}") as temporary:
                temporary.write_text(content, encoding="utf-8")
        write_json([score.to_json() for score in scores], args.out / "zero_shot.json")
    return 0


def find_sets(args: argparse.Namespace) -> list[ZeroShotSet]:
    """What is tested on."""
    found: list[ZeroShotSet] = []
    for folder in args.data:
        for one in find_zero_shot_sets(folder, skip_missing=args.skip_missing):
            if args.sets and one.name not in args.sets:
                continue
            if one.name == SCAN and args.scanobjectnn == "test":
                one = test_part(one, args.scanobjectnn_test)
            elif one.name == SCAN:
                one = one.take(np.arange(len(one)), f"{SCAN} train and test", "training objects are among them")
            found += split_by_training(one, args.trained_on) if one.name == LVIS and args.trained_on else [one]
    if not found:
        raise InputError(
            f"there is no set of --sets {' '.join(args.sets or [])} in --data; leave --sets out to see all"
        )
    if args.limit is not None:
        if args.limit < 1:
            raise InputError(f"--limit is {args.limit}, but must be at least 1")
        found = [take_some(one, args.limit) for one in found]
    return found


def take_some(one: ZeroShotSet, limit: int) -> ZeroShotSet:
    """At most `limit` objects, evenly over the set."""
    if len(one) <= limit:
        return one
    rows = np.linspace(0, len(one) - 1, limit).astype(np.int64)
    return one.take(rows, note=f"{limit} of {len(one)} objects, evenly drawn (--limit)")


def split_by_training(one: ZeroShotSet, path: Path) -> list[ZeroShotSet]:
    """The objects that a list of training objects names, and the others."""
    rows = read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"'{path}' is no list of objects; give a file such as split/train_all.json")
    seen = {str(row.get("id", row.get("uid"))) for row in rows}
    is_seen = np.array([name in seen for name in one.ids])
    parts = ((is_seen, "shapes seen in training"), (~is_seen, "shapes not seen in training"))
    return [one.take(np.flatnonzero(mask), f"{one.name}, {what}", f"by '{path}'") for mask, what in parts if mask.any()]


def score_model(
    name: str, path: str, sets: Sequence[ZeroShotSet], args: argparse.Namespace, options: dict[str, Any]
) -> list[Score]:
    """All rows of one model."""
    from pointrecon.encoders import load_model
    from pointrecon.open_models import OpenModel
    from pointrecon.tools.context import find_device

    model = load_model(path, device=find_device(args.device), precision=args.precision, **options)
    if not model.has_text:
        raise InputError(f"'{path}' was trained without a text teacher; zero-shot recognition needs one")
    is_open = isinstance(model, OpenModel)

    def embed(points: Sequence[np.ndarray], colors: Sequence[np.ndarray | None], up: str) -> np.ndarray:
        given = {"colors": list(colors)} if is_open else {}
        features = model.embed_all(list(points), up=up, **given)[1]
        assert features is not None
        return features

    conditions = [(up, AS_STORED) for up in args.up]
    if args.robustness:
        conditions += [(args.up[0], change) for change in CHANGES if change != AS_STORED]
    scores: list[Score] = []
    for one in sets:
        classes, text = find_classes(model, one, args.class_features)
        scores += evaluate(embed, one, classes, model=name, text=text, conditions=conditions)
    return scores


def find_classes(model: Any, one: ZeroShotSet, path: Path | None) -> tuple[np.ndarray, str]:
    """Features (C, E) of the classes and where they are from: a file, as stored beside the set, or the text teacher."""
    from pointrecon.words import class_features

    if path is not None:
        return read_class_features(path, one.class_names, one.name), f"of '{path.name}'"
    about = getattr(model, "about", None)
    teacher = about.text_teacher if about is not None else None
    width = getattr(model.network, "out_dim", None)
    is_stored = one.class_features is not None and one.class_features.shape[1] == width
    if is_stored and (teacher is None or teacher[0] == "ViT-bigG-14"):
        return one.class_features, "as stored, of ViT-bigG-14"
    source = f"of {teacher[0]}, 64 templates" if teacher else "of its text teacher"
    return class_features(one.class_names, model.info), f"{source}, names in lower case without underscores"


def parse_option(text: str) -> tuple[str, int | float]:
    """KEY=NUMBER."""
    key, _, value = text.partition("=")
    try:
        return key, int(value) if value.lstrip("-").isdigit() else float(value)
    except ValueError as error:
        raise InputError(f"--option is '{text}', but must be KEY=NUMBER, such as num_heads=6") from error


if __name__ == "__main__":
    sys.exit(exit_code(main))
