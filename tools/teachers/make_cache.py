"""Makes a teacher cache: shows every object of a data set to frozen teachers once, so that training need not.

Pictures are seen as they are (view 0) and in seeded variations; names and classes are read in prompt templates.
"""

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.teacher_cache.reader import FeatureCache, made_of_hash
from pointrecon.datasets.teacher_cache.writer import write_features
from pointrecon.models.teachers.base import Teacher
from pointrecon.tools.teachers.shared_work import Piece, SharedWork
from pointrecon.tools.teachers.work import PictureWork, SampleWork, TextWork, batches, check_finite
from pointrecon.utils.errors import InputError

Progress = Callable[[Iterable, str], Iterable]


def silent(items: Iterable, what: str) -> Iterable:
    """Shows nothing of a loop's progress."""
    return items


def make_cache(
    path: str | Path,
    datasets: Sequence[PointCloudDataset],
    image: PictureWork | None = None,
    text: TextWork | None = None,
    progress: Progress = silent,
    sample: SampleWork | None = None,
) -> None:
    """Writes the features of all objects of the data sets; their order does not matter.

    Processes that do this at the same time share the work, and one that was killed is gone on from: the pieces wait in
    a folder beside the file, until one process puts them together.

    Args:
        path: The cache file; one that was made of other things is replaced.
        datasets: Splits that together hold every object, each object once; with pictures if there is an image teacher.
        image: None: no image features.
        text: None: no text features.
        progress: Wraps the pieces, for a progress bar.
        sample: None: no features of whole samples.

    Raises:
        InputError: An id that occurs twice, an object without a picture, or a feature that is not finite.
    """
    path = Path(path)
    ids = sorted(name for dataset in datasets for name in dataset.ids)
    repeated = [first for first, second in zip(ids, ids[1:], strict=False) if first == second]
    if repeated:
        raise InputError(f"id '{repeated[0]}' occurs twice; the cache needs one id for each object")
    given: dict[str, Any] = {"image": image, "text": text, "sample": sample}
    works = {kind: work for kind, work in given.items() if work is not None}
    for work in works.values():
        work.open(datasets)
    infos = {kind: work.info for kind, work in works.items()}
    key = hashlib.sha256(json.dumps([infos, [work.key() for work in works.values()]]).encode()).hexdigest()
    folder = path.with_name(f".{path.name}.parts-{key[:12]}")
    numbers = [(work, number) for work in works.values() for number in range(len(work.pieces))]

    def compute(number: int) -> Piece:
        work, own = numbers[number]
        return work.compute(own)

    def finish() -> None:
        ends = itertools.accumulate(len(work.pieces) for work in works.values())
        firsts = {kind: end - len(work.pieces) for (kind, work), end in zip(works.items(), ends, strict=True)}
        content = {
            kind: work.collect(lambda rows, first=firsts[kind]: shared.read([first + row for row in rows]))
            for kind, work in works.items()
        }
        # In the folder of the pieces: what a killed process leaves is removed with them.
        write_features(folder / "whole.h5", **content)
        os.replace(folder / "whole.h5", path)

    shared = SharedWork(folder, compute, len(numbers), finish, lambda: is_made(path, infos))
    shared.run(lambda pieces: progress(pieces, "teachers"))


def is_made(path: Path, infos: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a cache file is there and was made of what is noted."""
    if not path.is_file():
        return False
    try:
        hashes = FeatureCache(path).hashes
    except InputError:
        return False
    return all(hashes.get(kind) == made_of_hash(info) for kind, info in infos.items())


def read_sentences(sentences: Sequence[str], teacher: Teacher, batch_size: int, progress: Progress = silent) -> Tensor:
    """Returns the (n, D) float32 features of n sentences, on the CPU, from a few large batches."""
    # Sentences of a length together: little padding.
    order = sorted(range(len(sentences)), key=lambda row: (len(sentences[row]), row))
    encoded = [
        teacher.encode_text([sentences[row] for row in rows])
        for rows in progress(list(batches(order, batch_size)), "sentences")
    ]
    features = torch.empty(len(sentences), teacher.dim)
    features[order] = torch.cat(encoded).float().cpu()
    check_finite(features, sentences)
    return features
