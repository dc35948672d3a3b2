"""The contract between data sets and everything that uses them: what one item of a data set is."""

from typing import TypedDict

from torch import Tensor


class Sample(TypedDict, total=False):
    """One object. A data set fills in what it has; collating stacks tensors and numbers and lists texts."""

    points: Tensor  # (N, 3) float32, y up, in the unit sphere unless the data set's published protocol says otherwise
    label: int  # class index; -1: none of the classes
    part: Tensor  # (N,) int64 part label
    image: Tensor  # (3, H, W) float32 RGB in 0..1; each teacher applies its own mean and std
    text: str  # class name or caption, without template
    image_features: Tensor  # (V, D) of the image teacher, where the data set carries them
    text_features: Tensor  # (P, D) of the text teacher, likewise
    id: str  # stable key: teacher cache, embeddings, logs
