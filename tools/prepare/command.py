"""The command line: python scripts/prepare_data.py KIND [options], the same as pointrecon prepare KIND [options].

folder DIR [--split]            what a folder of shapes holds, which way is up, a contact sheet, a table with splits
pack DIR --out FILE.h5          a folder as one file that opens at once
render DIR                      pictures for the image teacher, and the teachers' features of pictures and words
sweethome3d --out FILE.h5       the bundled set, rebuilt from its original archives
debshapes --jobs 2              a pretraining set from free packages
fewshot --seed 0                few-shot folds of ModelNet40
shards --config CFG --out DIR   a data set as tar files
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pointrecon.tools.environment import ROOT
from pointrecon.utils.errors import InputError
from pointrecon.utils.program import Parser

UP_AXES = ("auto", "y", "z", "-y", "-z", "x", "-x")
FOLDER = """Reads a folder of meshes and point clouds (one sub-folder a class, or a CSV table path,label,text,split) and
says what is in it, what was skipped and why, and which axis is up. Draws a contact sheet that shows it. With --split it
writes a table that people can edit and that data.type=Folder reads: a part of each class is for testing, and no shape
of it has a near copy among the others."""
PACK = """Writes a folder into one HDF5 file: points with +y up, colours, labels, words, splits, and with --pictures a
picture of each shape. Train from it with data.type=Folder data.root=FILE."""
RENDER = """Draws a picture of each shape of a folder, point clouds too, and has the teachers that come in packages look
at the pictures and read the shapes' words (from the table, the files' names or the classes). Pretraining on the folder
finds both beside it."""
SWEETHOME3D = """Rebuilds data/sweethome3d/sweethome3d.h5 from the archives in the package sweethome3d-furniture and
says, field by field, what differs from the file that is there. data/sweethome3d/README.md explains the differences."""
DEBSHAPES = """Makes DebShapes from free packages. Downloads the Debian packages that hold 3D meshes (apt-get download;
no root), or takes .deb files from a folder, and makes data/debshapes/ of them: points, pictures, names, and what the
teachers make of these. A run that was stopped goes on where it was when it is started again. What is in it, and under
which licences: tools/debshapes/README.md."""
FEWSHOT = """Draws the few-shot folds of ModelNet40. Four settings (5 or 10 classes, 10 or 20 labelled objects of each,
20 test objects of each) with ten folds each, about 1 GB, in the layout that published code reads too. The same seed
draws the same folds."""
SHARDS = """Writes a data set into shards: tar files in WebDataset's layout with the points and the cached features of
the config's teachers. Train from them with cfgs/pretrain/shards.yaml. A call that was interrupted goes on where it
stopped if it is repeated."""


def run(argv: Sequence[str], prog: str | None = None) -> int:
    """Does what the command line says; returns the exit code.

    Args:
        argv: The arguments.
        prog: What the program is called in messages; None: the script's name.
    """
    parser = Parser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar=" | ".join(KINDS))
    for name, (description, add_flags, action) in KINDS.items():
        kind = kinds.add_parser(name, description=description)
        add_flags(kind)
        kind.set_defaults(action=action)
    args, rest = parser.parse_known_args(list(argv))
    wrong = next((word for word in rest if args.kind != "shards" or word.startswith("-") or "=" not in word), None)
    if wrong is not None:
        parser.error(f"'{wrong}' is not known here")
    args.overrides = rest
    return int(args.action(args) or 0)


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", type=Path, metavar="DIR", help="folder, or CSV table, of meshes and point clouds")
    parser.add_argument("--up", default="auto", choices=UP_AXES, help="axis that is up in the files; auto: guess it")
    parser.add_argument("--table", help="CSV table elsewhere that counts instead of what the folder says")
    parser.add_argument("--jobs", type=int, help="processes that read files; default: one for each core")
    parser.add_argument("--time_limit", type=float, default=120.0, help="seconds for one file")


def _add_folder(parser: argparse.ArgumentParser) -> None:
    _add_source(parser)
    parser.add_argument("--sheet", type=Path, help="contact sheet (.png); default: DIR/.pointrecon/sheet.png")
    parser.add_argument("--split", action="store_true", help="draw splits and write the table")
    parser.add_argument("--out", type=Path, help="the table; default: DIR/shapes.csv")
    parser.add_argument("--test", type=float, default=0.2, help="share of each class that is for testing")
    parser.add_argument("--val", type=float, default=0.0, help="share for validation, besides")
    parser.add_argument("--seed", type=int, default=0, help="of the splits")
    parser.add_argument("--overwrite", action="store_true", help="replace a table that is there")


def _add_pack(parser: argparse.ArgumentParser) -> None:
    _add_source(parser)
    parser.add_argument("--out", type=Path, required=True, help="the file, .h5")
    parser.add_argument("--num_points", type=int, help="points per shape; default: all 4096 that are stored")
    parser.add_argument("--pictures", action="store_true", help="draw and pack a picture of each shape")


def _add_render(parser: argparse.ArgumentParser) -> None:
    _add_source(parser)
    parser.add_argument("--png", type=Path, metavar="OUT", help="also write the pictures as PNG files below a folder")
    parser.add_argument("--views", type=int, default=4, help="views of a picture that the image teacher sees")
    parser.add_argument("--templates", type=int, default=20, help="sentences in which the text teacher reads words")
    parser.add_argument("--no_teachers", action="store_true", help="draw the pictures and stop")


def _add_sweethome3d(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="the file that is made, .h5")
    parser.add_argument("--packages", type=Path, metavar="DIR", help="folder with the .deb file; default: download it")
    parser.add_argument("--archives", type=Path, metavar="DIR", help="folder with the five .sh3f files instead")
    against = ROOT / "data" / "sweethome3d" / "sweethome3d.h5"
    parser.add_argument("--against", type=Path, default=against, help="the file that it is compared with")
    parser.add_argument("--keep_points", action="store_true", help="take that file's points; then the bytes are equal")
    parser.add_argument("--jobs", type=int, help="processes; default: one for each core")


def _add_debshapes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sources", nargs="+", help="only these; a wrong name lists them; default: all but 0ad")
    parser.add_argument("--packages", type=Path, metavar="DIR", help="folder with .deb files; default: download them")
    parser.add_argument("--jobs", type=int, default=1, help="processes; the result does not depend on it")
    parser.add_argument("--data_root", type=Path, default=ROOT / "data", help="the data set becomes a folder in it")
    parser.add_argument("--leave_out", default="labelled", help="bundled objects to leave out: labelled, all or none")
    parser.add_argument("--per_family", type=int, default=64, help="most shapes whose names differ in numbers only")
    parser.add_argument("--version", type=int, default=2, help="of the rules what stays; 1: as first published")
    parser.add_argument("--time_limit", type=float, default=60.0, help="seconds for one mesh")
    parser.add_argument("--limit", type=int, help="at most this many meshes a package, for a trial")
    parser.add_argument("--no_teachers", action="store_true", help="leave the teachers' features out")
    parser.add_argument("--keep_work", action="store_true", help="keep the folder of intermediate files")


def _add_fewshot(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data_root", default=str(ROOT / "data"), help="folder that has ModelNet40 in it")
    parser.add_argument("--out", help="folder for the settings; default: <data_root>/ModelNetFewshot")
    parser.add_argument("--ways", type=int, nargs="+", default=[5, 10], help="numbers of classes")
    parser.add_argument("--shots", type=int, nargs="+", default=[10, 20], help="labelled objects a class")
    parser.add_argument("--folds", type=int, default=10, help="draws a setting")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--source", default="auto", help="form of the ModelNet40 files: auto, dat, txt, hdf5")
    parser.add_argument("--num_stored", type=int, default=8192, help="points an object of the forms dat and txt")


def _add_shards(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s --config CFG --out DIR [--shard_size N] [--splits SPLIT ...] [key=value ...]"
    parser.add_argument("--config", required=True, help="YAML file that names the data set and the teachers")
    parser.add_argument("--out", required=True, help="folder; <data_root>/shards is where data.type=Shards looks")
    parser.add_argument("--shard_size", type=int, default=1000, help="samples of a shard")
    parser.add_argument("--splits", nargs="+", default=["pretrain", "test"], help="which splits to write")


def do_folder(args: argparse.Namespace) -> int:
    """folder: 1 if files were skipped."""
    from pointrecon.tools.prepare.folder import FolderOptions, prepare_folder

    _start(args)
    fields = ("root", "up", "table", "out", "sheet", "test", "val", "seed", "overwrite", "jobs", "time_limit")
    options = FolderOptions(is_split=args.split, **{name: getattr(args, name) for name in fields})
    data, lines = prepare_folder(options)
    _say("\n".join(lines))
    return 1 if data.skipped else 0


def do_pack(args: argparse.Namespace) -> int:
    """pack: 1 if files were skipped."""
    from pointrecon.datasets.folder.folder import Folder
    from pointrecon.tools.prepare.pack import pack_folder

    _start(args)
    data = Folder(**_source(args), images=args.pictures)
    path = pack_folder(data, args.out, num_points=args.num_points)
    _say(f"{path}: {len(data)} shapes, {path.stat().st_size / 1e6:.1f} MB; {len(data.skipped)} files skipped")
    return 1 if data.skipped else 0


def do_render(args: argparse.Namespace) -> int:
    """render: 1 if files were skipped."""
    from pointrecon.datasets.folder.folder import Folder
    from pointrecon.tools.prepare.render import make_features, missing_packages, save_pictures

    _start(args)
    source = _source(args)
    data = Folder(**source, images=True)
    if args.png is not None:
        _say(f"{args.png}: {save_pictures(data, args.png)} pictures")
    missing = missing_packages()
    if missing and not args.no_teachers:
        raise InputError(
            f"{len(data)} pictures are drawn, but the teachers need {', '.join(missing)}; run "
            "\"pip install -e '.[teachers]'\" and the same command again, or give --no_teachers"
        )
    if not args.no_teachers:
        root, options = source.pop("root"), {key: value for key, value in source.items() if value is not None}
        views = {"num_views": args.views, "num_templates": args.templates, "jobs": args.jobs or 0}
        _say(f"{make_features(root, options, **views)}: features of {len(data)} shapes")
    return 1 if data.skipped else 0


def do_sweethome3d(args: argparse.Namespace) -> int:
    """sweethome3d: rebuilds the bundled file and compares."""
    from pointrecon.tools.prepare.sweethome3d import find_archives, format_comparison, rebuild

    _start(args)
    archives = find_archives(args.archives, args.packages, args.out)
    rebuild(archives, args.out, against=args.against, jobs=args.jobs, keep_points=args.keep_points)
    _say(format_comparison(args.out, args.against))
    return 0


def do_debshapes(args: argparse.Namespace) -> int:
    """debshapes: makes the pretraining set."""
    from pointrecon.tools.debshapes.build import Options, prepare
    from pointrecon.tools.debshapes.features import make_features
    from pointrecon.tools.debshapes.select import Rules
    from pointrecon.tools.debshapes.summary import format_summary
    from pointrecon.utils.log import make_logger

    make_logger()
    rules = Rules(args.leave_out, args.per_family, ROOT / "data", args.version)
    sources = tuple(args.sources) if args.sources else None
    out = args.data_root / args.kind
    options = Options(out, sources, args.packages, args.jobs, args.time_limit, rules, args.limit, args.keep_work)
    summary = prepare(options)
    if not args.no_teachers:
        make_features(args.data_root, "DebShapes", args.jobs)
    _say(format_summary(summary))
    return 0


def do_fewshot(args: argparse.Namespace) -> int:
    """fewshot: draws few-shot folds."""
    from pointrecon.datasets.modelnet.fewshot import make_folds

    settings = [(way, shots) for way in args.ways for shots in args.shots]
    paths = make_folds(args.data_root, args.out, settings, args.folds, args.seed, args.source, args.num_stored)
    _say(f"{len(paths)} folds in '{paths[0].parent.parent}'" if paths else "no fold was asked for")
    return 0


def do_shards(args: argparse.Namespace) -> int:
    """shards: writes them."""
    from pointrecon.tools.shards import make_shards
    from pointrecon.utils.config import load_config

    counts = make_shards(load_config(args.config, args.overrides), Path(args.out), args.splits, args.shard_size)
    for split, count in counts.items():
        _say(f"{Path(args.out) / split}: {count} samples")
    return 0


def _source(args: argparse.Namespace) -> dict:
    names = ("up", "table", "jobs", "time_limit")
    return {"root": str(args.root), **{name: getattr(args, name) for name in names}}


def _start(args: argparse.Namespace) -> None:
    from pointrecon.utils.log import make_logger

    if args.jobs is not None and args.jobs < 1:
        raise InputError(f"--jobs is {args.jobs}, but must be at least 1")
    make_logger()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


Flags = Callable[[argparse.ArgumentParser], None]
# Kind -> description, flags, what does it.
KINDS: dict[str, tuple[str, Flags, Callable[[argparse.Namespace], int]]] = {
    "folder": (FOLDER, _add_folder, do_folder),
    "pack": (PACK, _add_pack, do_pack),
    "render": (RENDER, _add_render, do_render),
    "sweethome3d": (SWEETHOME3D, _add_sweethome3d, do_sweethome3d),
    "debshapes": (DEBSHAPES, _add_debshapes, do_debshapes),
    "fewshot": (FEWSHOT, _add_fewshot, do_fewshot),
    "shards": (SHARDS, _add_shards, do_shards),
}
