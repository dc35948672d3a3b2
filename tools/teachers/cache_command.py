"""What scripts/cache_teacher_features.py does: the teachers and data sets of its command line, and their cache."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.opening import open_split
from pointrecon.datasets.splits import Choice
from pointrecon.datasets.teacher_cache.reader import FeatureCache
from pointrecon.models.teachers import TEACHERS
from pointrecon.tools.context import find_device
from pointrecon.tools.teachers.cache_info import image_info, picture_info, sentence_info, text_info
from pointrecon.tools.teachers.caches import place_teacher
from pointrecon.tools.teachers.make_cache import is_made, make_cache, silent
from pointrecon.tools.teachers.work import PictureWork, TextWork
from pointrecon.utils.errors import InputError
from pointrecon.utils.log import progress_bar
from pointrecon.utils.processes import distributed
from pointrecon.utils.processes.memory import keep_freed_memory


def cache_features(args: argparse.Namespace) -> tuple[Path, int]:
    """Makes a cache, or finds that it is there.

    Args:
        args: as the program reads them.

    Returns:
        The file and the number of objects.

    Raises:
        InputError: a mistake on the command line, or a file that was made of other things and may not be replaced.
    """
    keep_freed_memory()
    device = find_device(args.device)
    options: dict[str, Any] = {**getattr(args, "options", {})}
    options |= {"images": True} if args.image else {}
    options |= {"bgr": True} if args.image and args.published else {}
    sections = {kind: parse_teacher(getattr(args, kind)) for kind in ("image", "text")}
    datasets = [open_split(args.data, args.data_root, Choice(split=split), options) for split in args.splits]
    works: dict[str, Any] = {"image": None, "text": None}
    if sections["image"]:
        teacher = place_teacher(TEACHERS.build(sections["image"]), "image", device, args.published)
        info = image_info(sections["image"], args.seed, args.published) | picture_info(teacher, args.views)
        info["licence"] = getattr(args, "image_licence", args.licence)
        works["image"] = PictureWork(teacher, args.views, args.seed, info, args.batch_size, args.num_workers)
    if sections["text"]:
        teacher = place_teacher(TEACHERS.build(sections["text"]), "text", device)
        info = text_info(sections["text"], datasets[0].class_names) | sentence_info(args.templates)
        info["licence"] = getattr(args, "text_licence", args.licence)
        works["text"] = TextWork(teacher, args.templates, info, args.batch_size)
    path = _find_path(args, datasets[0])
    check_replaces(path, works, args.overwrite)
    make_cache(path, datasets, **works, progress=progress_bar if distributed.is_main() else silent)
    return path, sum(len(dataset) for dataset in datasets)


def parse_teacher(pairs: Sequence[str]) -> dict[str, Any]:
    """["type=TimmTeacher", "model=..."] -> the teacher's section; {} for none.

    Raises:
        InputError: something is no KEY=VALUE.
    """
    if any("=" not in pair for pair in pairs):
        raise InputError(f"a teacher is given as KEY=VALUE pairs, not as {' '.join(pairs)}")
    return {key: yaml.safe_load(value) for key, _, value in (pair.partition("=") for pair in pairs)}


def check_replaces(path: Path, works: dict[str, Any], overwrite: bool) -> None:
    """Refuses to replace a file that was made of other things, unless that is asked for.

    Raises:
        InputError: it may not be replaced; with what the file was made of and what is asked for.
    """
    infos = {kind: work.info for kind, work in works.items() if work is not None}
    if not infos:
        raise InputError("both teachers are empty, so there is nothing to cache; give --image or --text")
    if overwrite or not path.exists() or is_made(path, infos):
        return
    cache = FeatureCache(path)
    differences = [text for kind, info in infos.items() for text in cache.differences(kind, info)]
    raise InputError(
        f"'{path}' is there already and was made of other things ({'; '.join(differences) or cache.format}); give "
        "another --out, or --overwrite to replace it"
    )


def _find_path(args: argparse.Namespace, dataset: PointCloudDataset) -> Path:
    path = args.out or dataset.features_path
    if path is None:
        raise InputError(f"{args.data} does not say where its features belong; give --out FILE")
    return Path(path)
