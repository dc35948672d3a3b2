"""Makes a teacher cache: shows every object of a data set to frozen teachers once, so that training need not.

Pictures are seen as they are (view 0) and in seeded variations; names and classes are read in prompt templates.
"""

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as vision

from datasets.features import ImageFeatures, TextFeatures, write_features
from datasets.prompts import TEMPLATES, prompts_for, spread_templates
from models.teachers.base import Teacher
from utils.errors import InputError
from utils.seed import generator

MIN_AREA = 0.64  # of a crop, relative to the picture; published
MAX_ASPECT = 4 / 3  # of a crop, either way; torchvision's usual range
COLOUR = 0.2  # brightness, contrast and saturation change by up to this part
PREPROCESSING = (
    f"view 0: the picture; others: random crop of {MIN_AREA} to 1 of the area resized bicubically, left-right flip, "
    f"brightness, contrast and saturation up to {COLOUR:.0%}; then the network's own size, mean and standard deviation"
)


def make_cache(
    path: str | Path,
    datasets: Sequence[Dataset],
    image_teacher: Teacher | None,
    text_teacher: Teacher | None,
    num_views: int = 6,
    num_templates: int = 20,
    seed: int = 0,
    batch_size: int = 16,
    image_info: dict[str, str] | None = None,
    text_info: dict[str, str] | None = None,
    progress: Callable[[Iterable, str], Iterable] = lambda batches, what: batches,
) -> None:
    """Writes the features of all objects of the data sets; their order does not matter.

    Args:
        path: The cache file.
        datasets: Splits that together hold every object, each object once; with pictures if there is an image teacher.
        image_teacher: None: no image features.
        text_teacher: None: no text features.
        num_views: Views of a picture, the plain one included.
        num_templates: Templates for the names of objects; classes are always read in all 60.
        seed: Draws the variations. Each depends on the seed, the object's id and the number of the view only.
        batch_size: Pictures or sentences at a time.
        image_info: What to note about the image teacher: model, source, licence.
        text_info: What to note about the text teacher.
        progress: Wraps the batches, for a progress bar.

    Raises:
        InputError: An id that occurs twice, an object without a picture, or a feature that is not finite.
    """
    if num_views < 1 or batch_size < 1:
        raise InputError(f"views ({num_views}) and batch size ({batch_size}) must be at least 1")
    templates = spread_templates(num_templates)
    ids = sorted(name for dataset in datasets for name in dataset.ids)
    repeated = [first for first, second in zip(ids, ids[1:], strict=False) if first == second]
    if repeated:
        raise InputError(f"id '{repeated[0]}' occurs twice; the cache needs one id for each object")
    image = text = None
    if text_teacher is not None:
        text = read_names(datasets, text_teacher, templates, batch_size, progress)
        text.info = text_info or {}
    if image_teacher is not None:
        image = see_pictures(datasets, image_teacher, num_views, seed, batch_size, progress)
        image.info = {"preprocessing": PREPROCESSING, "seed": str(seed), **(image_info or {})}
    write_features(path, image, text)


def see_pictures(
    datasets: Sequence[Dataset],
    teacher: Teacher,
    num_views: int,
    seed: int,
    batch_size: int,
    progress: Callable[[Iterable, str], Iterable],
) -> ImageFeatures:
    """Returns the teacher's features of every picture, in the order of the ids."""
    items = sorted((name, which, row) for which, data in enumerate(datasets) for row, name in enumerate(data.ids))
    features = []
    ids = []
    for batch in progress(list(_batches(items, batch_size)), "pictures"):
        samples = [(name, datasets[which][row]) for name, which, row in batch]
        # A data set that skips what it cannot read gives another object in its place.
        samples = [(name, sample) for name, sample in samples if sample["id"] == name]
        if not samples:
            continue
        ids += [name for name, _ in samples]
        views = [view for name, sample in samples for view in _views(sample, name, num_views, seed)]
        # As many at a time as asked for, however many views an object has.
        encoded = torch.cat([teacher.encode_image(torch.stack(part)) for part in _by_shape(views, batch_size)])
        _check_finite(encoded, [name for name, _ in samples for _ in range(num_views)])
        features.append(encoded.float().cpu().view(len(samples), num_views, -1))
    return ImageFeatures(ids, torch.cat(features).numpy())


def read_names(
    datasets: Sequence[Dataset],
    teacher: Teacher,
    templates: Sequence[str],
    batch_size: int,
    progress: Callable[[Iterable, str], Iterable],
) -> TextFeatures:
    """Returns the teacher's features of every different name in the templates and of every class in all 60."""
    items = sorted((name, text) for data in datasets for name, text in zip(data.ids, data.names, strict=True))
    unique = sorted({text for _, text in items})
    class_names, class_texts = datasets[0].class_names, datasets[0].class_texts
    sentences = [sentence for name in unique for sentence in prompts_for(name, templates)]
    num_own = len(sentences)
    sentences += [sentence for text in class_texts for sentence in prompts_for(text, TEMPLATES)]
    features = read_sentences(sentences, teacher, batch_size, progress)
    own = features[:num_own].view(len(unique), len(templates), -1).numpy()
    return TextFeatures(
        ids=[name for name, _ in items],
        names=[text for _, text in items],
        name_features=dict(zip(unique, own, strict=True)),
        templates=list(templates),
        class_names=list(class_names),
        class_features=features[num_own:].view(len(class_names), len(TEMPLATES), -1).numpy(),
        class_templates=list(TEMPLATES),
    )


def read_sentences(
    sentences: Sequence[str],
    teacher: Teacher,
    batch_size: int,
    progress: Callable[[Iterable, str], Iterable],
) -> Tensor:
    """Returns the (n, D) float32 features of n sentences, on the CPU, from a few large batches."""
    # Sentences of a length together: little padding.
    order = sorted(range(len(sentences)), key=lambda row: (len(sentences[row]), row))
    encoded = [
        teacher.encode_text([sentences[row] for row in rows])
        for rows in progress(list(_batches(order, batch_size)), "sentences")
    ]
    features = torch.empty(len(sentences), teacher.dim)
    features[order] = torch.cat(encoded).float().cpu()
    _check_finite(features, sentences)
    return features


def vary(picture: Tensor, random: torch.Generator) -> Tensor:
    """Returns a variation of a (3, H, W) picture in 0..1 of the same size: crop, flip, colour."""
    height, width = picture.shape[-2:]
    area, aspect, top, left, flip, *colour = torch.rand(8, generator=random).tolist()
    area = MIN_AREA + (1 - MIN_AREA) * area
    stretch = math.sqrt(MAX_ASPECT) ** (2 * aspect - 1)
    crop_height = min(height, round(height * math.sqrt(area) / stretch))
    crop_width = min(width, round(width * math.sqrt(area) * stretch))
    corner = round(top * (height - crop_height)), round(left * (width - crop_width))
    picture = vision.resized_crop(
        picture, *corner, crop_height, crop_width, [height, width], InterpolationMode.BICUBIC, antialias=True
    )
    # Bicubic overshoots, and the colour operations are made for 0..1.
    picture = picture.clamp(0, 1)
    if flip < 0.5:
        picture = vision.horizontal_flip(picture)
    changes = (vision.adjust_brightness, vision.adjust_contrast, vision.adjust_saturation)
    for change, value in zip(changes, colour, strict=True):
        picture = change(picture, 1 + COLOUR * (2 * value - 1))
    return picture


def _views(sample: dict, name: str, num_views: int, seed: int) -> Iterator[Tensor]:
    if "image" not in sample:
        raise InputError(f"object '{name}' has no picture; build the data set with images=True, or drop the teacher")
    yield sample["image"]
    for view in range(1, num_views):
        yield vary(sample["image"], generator("cpu", zlib.crc32(f"{seed}/{view}/{name}".encode())))


def _batches(items: Sequence, size: int) -> Iterator[Sequence]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _by_shape(pictures: Sequence[Tensor], size: int) -> Iterator[list[Tensor]]:
    """Cuts a list into runs of pictures of one shape, at most `size` long."""
    run: list[Tensor] = []
    for picture in pictures:
        if run and (len(run) == size or picture.shape != run[0].shape):
            yield run
            run = []
        run.append(picture)
    yield run


def _check_finite(features: Tensor, what: Sequence[str]) -> None:
    is_bad = ~features.isfinite().all(-1)
    if is_bad.any():
        raise InputError(f"the teacher's feature of '{what[int(is_bad.nonzero()[0])]}' is not finite; check its input")
