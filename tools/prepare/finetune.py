"""Fine-tuning on one's own folder: bash scripts/finetune_own.sh DIR [CKPT], or
python -m pointrecon.tools.prepare.finetune DIR [CKPT].

Splits the folder by class without near copies on both sides (or takes the split that is there), trains with settings
for its size, and says how good the result is on the shapes that were held out. Started again, it goes on.
"""

import argparse
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pointrecon.datasets.folder.folder import Folder
from pointrecon.tools.prepare.command import UP_AXES
from pointrecon.tools.prepare.folder import (
    FolderOptions,
    describe,
    describe_split,
    describe_up,
    open_folder,
    split_folder,
    write_split,
)
from pointrecon.tools.sweeps.plan import CHECKPOINT, MAIN, Run
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import write_json
from pointrecon.utils.log import make_logger
from pointrecon.utils.program import Parser, end, exit_code

CONFIG = MAIN.parent / "cfgs" / "own" / "finetune.yaml"
RELEASED = "pointrecon-small"
# Training shapes up to which these settings hold: epochs, shapes in a batch. About 700 steps for 100, 5,000 for 50,000.
SETTINGS = ((100, 60, 8), (400, 40, 16), (2000, 22, 32), (10_000, 12, 32), (10**9, 6, 64))
MIN_TRAINING = 4


@dataclass(frozen=True)
class Plan:
    """What is going to be done.

    Attributes:
        run: The training.
        out: Folder of the table, the sheet and the report.
        num_train: Shapes that it is trained on.
        num_test: Shapes that it is tested on.
    """

    run: Run
    out: Path
    num_train: int
    num_test: int


def settings_for(num_train: int) -> tuple[int, int]:
    """Epochs and batch size for a number of training shapes.

    Raises:
        InputError: There are too few.
    """
    if num_train < MIN_TRAINING:
        raise InputError(f"there are {num_train} shapes to train on, but at least {MIN_TRAINING} are needed")
    epochs, batch = next((epochs, batch) for most, epochs, batch in SETTINGS if num_train <= most)
    return epochs, min(batch, num_train)


def find_start(ckpt: str | None, from_scratch: bool) -> str | None:
    """The checkpoint to start from; None: random weights.

    Raises:
        InputError: It is not there, or both were asked for.
    """
    from pointrecon.tools.api.catalogue import find_weights_file

    if from_scratch:
        if ckpt is not None:
            raise InputError(f"both the checkpoint '{ckpt}' and --from_scratch are given; leave one out")
        return None
    try:
        return str(Path(find_weights_file(ckpt or RELEASED)).resolve())
    except InputError as error:
        if ckpt is not None:
            raise
        raise InputError(
            f"the weights '{RELEASED}' are not here ({error}); give a checkpoint as the second argument, or "
            "--from_scratch to train from random weights"
        ) from error


def make_plan(args: argparse.Namespace) -> tuple[Plan, Folder, list[str]]:
    """Reads the folder, makes the table with its split unless there is one, and settles the training.

    Returns:
        The plan, the folder, and lines that say what was found.

    Raises:
        InputError: The folder cannot be used, or there is nothing to start from.
    """
    start = find_start(args.ckpt, args.from_scratch)
    root = args.dir.expanduser().resolve()
    name = args.name or re.sub(r"[^\w.-]+", "_", root.stem).strip("._-") or "shapes"
    out = args.root.resolve() / "own" / name
    options = FolderOptions(root, up=args.up, table=args.table, jobs=args.jobs, seed=args.seed, test=args.test)
    data = open_folder(options)
    lines = [*describe(data), describe_up(data, options)]
    if data.num_classes < 2:
        raise InputError(
            f"'{root}' has {data.num_classes} classes, but a classifier needs 2; make a sub-folder for each or a table "
            "shapes.csv with the columns path and label"
        )
    if not any(item.split for item in data.items):
        table = out / "split.csv"
        if not table.is_file():
            split = split_folder(data, options)
            write_split(data, split, table)
            lines += describe_split(data, split)
        options = replace(options, table=str(table))
        data = open_folder(options)
        lines.append(f"split: {table} (edit it and start this again)")
    labelled = data.labels.numpy() >= 0
    num_test = int((labelled & (data.split_of == "test")).sum())
    num_train = int((labelled & (data.split_of == "train")).sum())
    if not num_test:
        raise InputError("no shape is for testing; give the column split of the table 'test' for some")
    epochs, batch = settings_for(num_train)
    words = ["--seed", str(args.seed), f"epochs={epochs}", f"batch_size={batch}", f"output_root={args.root.resolve()}"]
    words += [f"optim.warmup_epochs={max(1, epochs // 8)}", f"data.root={root}", f"data.options.up={data.up or 'y'}"]
    words += [f"data.options.table={options.table}"] if options.table else []
    words += ["--ckpts", start, *_shown(start)] if start else ["start=random"]
    run = Run("train", str(CONFIG), name, (*words, *args.overrides), num_threads=0)
    lines.append(f"training on {num_train} shapes from {start or 'random weights'}: {epochs} epochs of {batch}")
    return Plan(run, out, num_train, num_test), data, lines


def _shown(start: str) -> list[str]:
    """What a network was shown in its training, as its checkpoint tells: it is fine-tuned with the same."""
    from pointrecon.tools.checkpoints.checkpoint import peek_checkpoint

    config = peek_checkpoint(start).get("config")
    config = config if isinstance(config, dict) else {}
    model, data = config.get("model") or {}, config.get("data") or {}
    words = [f"model.{key}={model[key]}" for key in ("num_groups", "group_size") if isinstance(model.get(key), int)]
    points = data.get("num_points")
    return [*words, *([f"data.num_points={points}"] if isinstance(points, int) and points <= 4096 else [])]


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(prog="finetune_own.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path, metavar="DIR", help="folder of shapes, a sub-folder a class; or a CSV table")
    parser.add_argument("ckpt", nargs="?", metavar="CKPT", help=f"checkpoint to start from; default: {RELEASED}")
    parser.add_argument("--from_scratch", action="store_true", help="start from random weights")
    parser.add_argument("--name", help="of the run; default: the folder's")
    parser.add_argument("--root", type=Path, default=Path("experiments"), help="folder of the results")
    parser.add_argument("--up", default="auto", choices=UP_AXES, help="axis that is up in the files")
    parser.add_argument("--table", help="CSV table elsewhere that counts instead of what the folder says")
    parser.add_argument("--test", type=float, default=0.2, help="share of each class that is held out")
    parser.add_argument("--seed", type=int, default=0, help="of the split and of the training")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes that read files")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the training's config")
    args = parser.parse_intermixed_args(argv)
    if args.ckpt is not None and "=" in args.ckpt and not Path(args.ckpt).exists():
        args.ckpt, args.overrides = None, [args.ckpt, *args.overrides]
    wrong = next((word for word in args.overrides if "=" not in word), None)
    if wrong is not None:
        parser.error(f"'{wrong}' is not known here")
    return args


def finetune(args: argparse.Namespace, say: Any) -> Path:
    """Does it; returns the folder of the report."""
    from pointrecon.tools.prepare.figures import collect, draw_mistakes, format_report
    from pointrecon.tools.prepare.sheet import draw_folder
    from pointrecon.tools.sweeps.execute import Options, run_all
    from pointrecon.tools.sweeps.work import PREFIXED

    plan, data, lines = make_plan(args)
    draw_folder(data, plan.out / "sheet.png", lines[0])
    say("\n".join([*lines, f"contact sheet: {plan.out / 'sheet.png'}"]))
    run_all([plan.run], Options(echo=PREFIXED, say=say)).check()
    folder = plan.run.folder()
    report = collect(folder, data, num_train=plan.num_train)
    write_json(report, plan.out / "report.json")
    pictures = draw_mistakes(report["mistakes"], data, plan.out / "mistakes.png")
    say(format_report(report))
    say("\n".join(str(path) for path in (*pictures, *sorted(folder.glob("figures/confusion*")))))
    say(f"use it: pointrecon classify FILES --ckpt {folder / CHECKPOINT} --up {data.up}")
    return plan.out


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code."""
    import sys

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def work() -> None:
        args = parse(argv)
        make_logger()
        finetune(args, say)

    return exit_code(work)


if __name__ == "__main__":
    end(main())
