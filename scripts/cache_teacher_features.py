#!/usr/bin/env python
"""Makes the teacher cache of a data set: python scripts/cache_teacher_features.py --out FILE [--data SweetHome3D] ...

Needs: pip install -e '.[teachers]'. Start it several times, or with torchrun, and the processes share the
work; start it again after an interruption, and it goes on where it was.
"""

import argparse
import sys
import time
from pathlib import Path

from pointrecon.tools.teachers.offline import IMAGE, LICENCE, TEXT
from pointrecon.utils.program import Parser, exit_code

ROOT = Path(__file__).resolve().parent.parent


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="SweetHome3D", help="data set")
    parser.add_argument("--data_root", default=str(ROOT / "data"), help="folder of the data sets")
    parser.add_argument("--splits", nargs="+", default=["pretrain", "test"], help="splits that hold all objects")
    parser.add_argument("--out", help="cache file; default: where the data set looks for it")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that was made of other things")
    parser.add_argument("--image", nargs="*", default=IMAGE, metavar="KEY=VALUE", help="image teacher; empty: none")
    parser.add_argument("--text", nargs="*", default=TEXT, metavar="KEY=VALUE", help="text teacher; empty: none")
    parser.add_argument("--licence", default="not stated", help="of your own teachers' weights; noted in the file")
    parser.add_argument("--views", type=int, default=8, help="views of a picture, the plain one included")
    parser.add_argument("--templates", type=int, default=60, help="of the 60, for the names of objects")
    parser.add_argument("--seed", type=int, default=0, help="draws the views")
    parser.add_argument("--published", action="store_true", help="pictures as published: BGR, ImageNet's statistics")
    parser.add_argument("--batch_size", type=int, default=64, help="pictures or sentences at a time")
    parser.add_argument("--num_workers", type=int, default=0, help="threads that read pictures")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU; 1: the same bits each time on one machine")
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Has the cache made, and says what came of it."""
    import torch

    from pointrecon.tools.teachers.cache_command import cache_features
    from pointrecon.utils.processes import distributed

    torch.set_num_threads(args.threads)
    start = time.time()
    for name, default in (("image", IMAGE), ("text", TEXT)):
        if getattr(args, name) == default and args.licence == "not stated":
            setattr(args, f"{name}_licence", LICENCE)
    path, count = cache_features(args)
    if distributed.is_main():
        print(f"{path}: {count} objects, {path.stat().st_size / 1e6:.1f} MB, {time.time() - start:.0f} s")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse())))
