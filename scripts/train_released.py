#!/usr/bin/env python
"""Makes the weights that come with this project again, and their model card: python scripts/train_released.py

  python scripts/train_released.py --sets      how to make the two data sets that are needed; then run it without
  python scripts/train_released.py --jobs 2

Pretrains pointrecon-small (cfgs/released/pretrain.yaml), measures it against random weights on objects that it has not
seen (cfgs/ablation/released.yaml), and writes the weights in half precision and the card to data/weights. What is done
is kept, so the command can be started again.
"""

import argparse
import functools
import hashlib
import sys
from pathlib import Path

from pointrecon.utils.errors import InputError
from pointrecon.utils.program import Parser, exit_code

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "cfgs" / "ablation" / "released.yaml"
MARKS = ("<!-- figures: begin -->", "<!-- figures: end -->")  # the card's table lies between them
SOURCES = (
    "colobot cube2 dart megaglest minetest neverball openarena redeclipse scorched3d stormbaancoureur supertuxkart "
    "sweethome3d torcs ufoai warzone2100"
)
TRANSFER = "kicad gl117 crrcsim opencity"
SETS = f"""python scripts/prepare_data.py debshapes --version 1 --sources {SOURCES}
python scripts/prepare_data.py debshapes --version 1 --sources {TRANSFER} --limit 700 --no_teachers \\
    --data_root data/transfer"""


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", action="store_true", help="only print how the data sets are made")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time, one thread each (default: 1)")
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "weights", help="folder of weights and card")
    parser.add_argument("--any-code", "--any_code", action="store_true", help="keep what other code has computed")
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Trains, measures, writes."""
    from pointrecon.tools.sweeps import execute
    from pointrecon.tools.sweeps.plan import CHECKPOINT
    from pointrecon.tools.sweeps.read_table import read_table
    from pointrecon.tools.sweeps.report import publish
    from pointrecon.tools.sweeps.table import collect, expand

    if args.sets:
        print(SETS)
        return
    for place in ("debshapes", "transfer/debshapes"):
        if not (ROOT / "data" / place / "points.h5").is_file():
            raise InputError(
                f"'{ROOT / 'data' / place}' is not there; make it: python scripts/train_released.py --sets"
            )
    table = read_table(TABLE)
    cells = expand(table)
    options = execute.Options(args.jobs, any_code=args.any_code, say=functools.partial(print, flush=True))
    execute.run_all([cell.run for cell in cells], options).check()
    found = collect(cells, args.any_code)
    text, _ = publish(found, table.compare, table.out, sys.argv)
    first = next(cell.run for cell in cells if cell.pretraining is not None)
    weights, card = write_release(first.folder() / CHECKPOINT, text, args.out)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    print(text, weights, card, f"put its SHA-256 into tools/api/catalogue.py: {digest}", sep="\n")


def write_release(checkpoint: Path, figures: str, out: Path) -> tuple[Path, Path]:
    """Writes the weights and puts the figures into the model card.

    Args:
        checkpoint: Of the pretraining.
        figures: The Markdown table.
        out: Folder with the card's text, README.md, which has the figures between two marks.
    """
    from pointrecon.tools.checkpoints.convert import convert
    from pointrecon.utils.files.io import atomic_write

    weights, card = out / "pointrecon-small.safetensors", out / "README.md"
    convert(checkpoint, weights, "safetensors", is_overwrite=True, is_half=True)
    head, _, rest = card.read_text(encoding="utf-8").partition(MARKS[0])
    _, _, tail = rest.partition(MARKS[1])
    with atomic_write(card) as temporary:
        temporary.write_text(f"{head}{MARKS[0]}\n{figures}\n{MARKS[1]}{tail}", encoding="utf-8")
    return weights, card


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse())))
