"""The work of a teacher cache, in pieces: every picture in its views, every name and class in its templates.

Shape legend: b objects or sentences of a piece, V views, D feature width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.images.views import view_draws
from pointrecon.datasets.prompts import TEMPLATES, prompts_for, spread_templates
from pointrecon.datasets.teacher_cache.writer import ImageFeatures, TextFeatures
from pointrecon.models.teachers.base import Teacher
from pointrecon.tools.teachers.image_input import encode_views
from pointrecon.tools.teachers.shared_work import Piece
from pointrecon.utils.errors import InputError

NUM_VIEWS = 8
OBJECTS_A_PIECE = 32  # what is lost at most when a process is killed, all views of them
SENTENCES_A_PIECE = 1024


class PictureWork:
    """Features of the pictures of data sets, in pieces.

    Args:
        teacher: sees pictures.
        num_views: Views of a picture, the plain one included.
        seed: Draws the variations. Each depends on the seed, the object's id and the number of the view only.
        info: Notes for the cache; see `datasets.features.MADE_OF`.
        batch_size: Pictures at a time.
        num_threads: Threads that read pictures; 0: none beside the process itself.

    Raises:
        InputError: Less than one view or one picture at a time.
    """

    def __init__(
        self,
        teacher: Teacher,
        num_views: int = NUM_VIEWS,
        seed: int = 0,
        info: Mapping[str, str] | None = None,
        batch_size: int = 64,
        num_threads: int = 0,
    ) -> None:
        if num_views < 1 or batch_size < 1:
            raise InputError(f"views ({num_views}) and batch size ({batch_size}) must be at least 1")
        self.teacher, self.num_views, self.seed, self.info = teacher, num_views, seed, dict(info or {})
        self.batch_size, self.num_threads = batch_size, num_threads

    def open(self, datasets: Sequence[PointCloudDataset]) -> None:
        """Lists the objects, in the order of their ids.

        Raises:
            InputError: The data sets have no pictures.
        """
        items = sorted((name, which, row) for which, data in enumerate(datasets) for row, name in enumerate(data.ids))
        self.datasets, self.pieces = datasets, list(batches(items, OBJECTS_A_PIECE))
        for data in datasets:
            if len(data) and "image" not in (sample := data[0]):
                raise InputError(
                    f"object '{sample['id']}' has no picture; build the data set with images=True, or drop the teacher"
                )

    def key(self) -> list:
        """What, beside `info`, decides what is in a piece."""
        return [[name for piece in self.pieces for name, _, _ in piece], self.batch_size]

    def compute(self, number: int) -> Piece:
        """The ids and the (b, V, D) features of one piece."""
        samples = self._read(self.pieces[number])
        features = np.zeros((len(samples), self.num_views, self.teacher.dim), dtype=np.float32)
        views = [(row, view) for row in range(len(samples)) for view in range(self.num_views)]
        for part in _by_shape(views, [sample["image"].shape for sample in samples], self.batch_size):
            rows, numbers = zip(*part, strict=True)
            names = [samples[row]["id"] for row in rows]
            draws = view_draws(self.seed, zip(names, numbers, strict=True))
            images = torch.stack([samples[row]["image"] for row in rows])
            encoded = encode_views(self.teacher, images, draws, torch.tensor(numbers) == 0).float()
            check_finite(encoded, names)
            features[list(rows), list(numbers)] = encoded.cpu().numpy()
        return {"ids": np.array([sample["id"].encode() for sample in samples], dtype=np.bytes_), "features": features}

    def collect(self, read: Callable[[range], Iterator[Piece]]) -> ImageFeatures:
        """All features, piece by piece."""
        numbers = range(len(self.pieces))
        ids = [name.decode() for piece in read(numbers) for name in piece["ids"].tolist()]
        return ImageFeatures(ids, (piece["features"] for piece in read(numbers)), self.info)

    def _read(self, items: Sequence[tuple[str, int, int]]) -> list[dict]:
        with ThreadPoolExecutor(max(self.num_threads, 1)) as pool:
            samples = list(pool.map(lambda item: self.datasets[item[1]][item[2]], items))
        # A data set that skips what it cannot read gives another object in its place.
        return [sample for (name, _, _), sample in zip(items, samples, strict=True) if sample["id"] == name]


class TextWork:
    """Features of the different names of data sets in the templates and of every class in all 60, in pieces.

    Args:
        teacher: reads text.
        num_templates: Templates for the names of objects; classes are always read in all 60.
        info: Notes for the cache; see `datasets.features.MADE_OF`.
        batch_size: Sentences at a time.

    Raises:
        InputError: There are not that many templates.
    """

    def __init__(
        self,
        teacher: Teacher,
        num_templates: int = len(TEMPLATES),
        info: Mapping[str, str] | None = None,
        batch_size: int = 64,
    ) -> None:
        self.teacher, self.templates, self.info = teacher, spread_templates(num_templates), dict(info or {})
        self.batch_size = batch_size

    def open(self, datasets: Sequence[PointCloudDataset]) -> None:
        """Lists the sentences, those of a length together: little padding."""
        self.items = sorted((name, text) for data in datasets for name, text in zip(data.ids, data.names, strict=True))
        self.names = sorted({text for _, text in self.items})
        self.class_names, texts = list(datasets[0].class_names), datasets[0].class_texts
        sentences = [sentence for name in self.names for sentence in prompts_for(name, self.templates)]
        self.sentences = sentences + [sentence for text in texts for sentence in prompts_for(text, TEMPLATES)]
        self.order = sorted(range(len(self.sentences)), key=lambda row: (len(self.sentences[row]), row))
        self.pieces = list(batches(self.order, SENTENCES_A_PIECE))

    def key(self) -> list:
        """What, beside `info`, decides what is in a piece."""
        return [self.sentences, self.batch_size]

    def compute(self, number: int) -> Piece:
        """The (b, D) features of one piece."""
        sentences = [self.sentences[row] for row in self.pieces[number]]
        parts = [self.teacher.encode_text(part).float().cpu() for part in batches(sentences, self.batch_size)]
        features = torch.cat(parts)
        check_finite(features, sentences)
        return {"features": features.numpy()}

    def collect(self, read: Callable[[range], Iterator[Piece]]) -> TextFeatures:
        """All features, in the order of the names."""
        sorted_features = np.concatenate([piece["features"] for piece in read(range(len(self.pieces)))])
        features = np.empty_like(sorted_features)
        features[self.order] = sorted_features
        num_own = len(self.names) * len(self.templates)
        width = features.shape[1]
        return TextFeatures(
            ids=[name for name, _ in self.items],
            names=[text for _, text in self.items],
            features=features[:num_own].reshape(len(self.names), len(self.templates), width),
            templates=self.templates,
            class_names=self.class_names,
            class_features=features[num_own:].reshape(len(self.class_names), len(TEMPLATES), width),
            class_templates=list(TEMPLATES),
            info=self.info,
        )


class SampleWork:
    """What a teacher says of whole samples, in pieces.

    Args:
        teacher: has `encode_samples`.
        info: Notes for the cache; see `datasets.features.MADE_OF`.
        batch_size: Samples at a time.
    """

    def __init__(self, teacher: Teacher, info: Mapping[str, str] | None = None, batch_size: int = 64) -> None:
        self.teacher, self.info, self.batch_size = teacher, dict(info or {}), batch_size

    def open(self, datasets: Sequence[PointCloudDataset]) -> None:
        """Lists the objects, in the order of their ids."""
        items = sorted((name, which, row) for which, data in enumerate(datasets) for row, name in enumerate(data.ids))
        self.datasets, self.pieces = datasets, list(batches(items, OBJECTS_A_PIECE))

    def key(self) -> list:
        """What, beside `info`, decides what is in a piece."""
        return [[name for piece in self.pieces for name, _, _ in piece], self.batch_size]

    def compute(self, number: int) -> Piece:
        """The ids and the (b, R, D) targets of one piece."""
        items = [(name, self.datasets[which][row]) for name, which, row in self.pieces[number]]
        # A data set that skips what it cannot read gives another object in its place.
        samples = [sample for name, sample in items if sample["id"] == name]
        names = [sample["id"] for sample in samples]
        parts = [self.teacher.encode_samples(default_collate(list(part))) for part in batches(samples, self.batch_size)]
        features = torch.cat([part.unsqueeze(1) if part.dim() == 2 else part for part in parts]).float().cpu()
        check_finite(features.flatten(1), names)
        return {"ids": np.array([name.encode() for name in names], dtype=np.bytes_), "features": features.numpy()}

    def collect(self, read: Callable[[range], Iterator[Piece]]) -> ImageFeatures:
        """All targets, piece by piece."""
        numbers = range(len(self.pieces))
        ids = [name.decode() for piece in read(numbers) for name in piece["ids"].tolist()]
        return ImageFeatures(ids, (piece["features"] for piece in read(numbers)), self.info)


def batches(items: Sequence, size: int) -> Iterator[Sequence]:
    """Cuts a list into parts of `size`; the last one may be shorter."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _by_shape(views: Sequence[tuple[int, int]], shapes: Sequence[tuple], size: int) -> Iterator[list[tuple[int, int]]]:
    """Cuts a list of (row, view) into runs whose pictures have one shape, at most `size` long."""
    run: list[tuple[int, int]] = []
    for view in views:
        if run and (len(run) == size or shapes[view[0]] != shapes[run[0][0]]):
            yield run
            run = []
        run.append(view)
    if run:
        yield run


def check_finite(features: Tensor, what: Sequence[str]) -> None:
    """Refuses features with NaN or infinity.

    Args:
        features: (n, D).
        what: n names of what was seen or read.

    Raises:
        InputError: One is not finite.
    """
    is_bad = ~features.isfinite().all(-1)
    if is_bad.any():
        raise InputError(f"the teacher's feature of '{what[int(is_bad.nonzero()[0])]}' is not finite; check its input")
