"""The contract between data sets and everything that uses them: what one item is, and what a batch of them is."""

from typing import TypedDict

from torch import Tensor


class Sample(TypedDict, total=False):
    """One object. A data set fills in what it has; collating stacks tensors and numbers and lists texts."""

    # (N, 3) float32, y up, in the unit sphere unless the data set's published protocol says otherwise; float16 where
    # it is stored so, which `transforms.PointTransform` takes as well.
    points: Tensor
    colors: Tensor  # (N, 3) RGB, float32 in 0..1 or uint8 in 0..255, of the points as they are stored
    label: int  # class index; -1: none of the classes
    part: Tensor  # (N,) int64 part label
    image: Tensor  # (3, H, W) float32 RGB in 0..1; each teacher applies its own mean and std
    text: str  # class name or caption, without template
    image_features: Tensor  # (V, D) of the image teacher, where the data set carries them
    text_features: Tensor  # (P, D) of the text teacher, likewise
    id: str  # stable key: teacher cache, embeddings, logs


class Batch(TypedDict, total=False):
    """B samples of one data set: it has the keys that each of them has."""

    points: Tensor  # (B, N, 3) float32 or float16
    colors: Tensor  # (B, N, 3) float32 in 0..1 or uint8; `transforms.join_colors` joins them to the points
    label: Tensor  # (B,) int64
    part: Tensor  # (B, N) int64
    image: Tensor  # (B, 3, H, W) float32
    text: list[str]
    image_features: Tensor  # (B, V, D)
    text_features: Tensor  # (B, P, D)
    id: list[str]


class _CarriedInfo(TypedDict):
    count: int  # V views or P prompts
    dim: int  # D
    mean: list[float]  # D numbers, over all samples
    info: dict[str, str]  # where they come from, as a teacher cache notes it


class CarriedInfo(_CarriedInfo, total=False):
    """What is known of teacher features that come with the samples."""

    is_padded: bool  # a sample may have fewer: what it lacks is all zero
