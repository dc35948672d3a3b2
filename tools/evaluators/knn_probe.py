"""Nearest neighbors among the features of a frozen encoder."""

import numpy as np
import torch
from torch.nn import functional as F

from pointrecon.tools.evaluators import EVALUATORS
from pointrecon.tools.evaluators.encoder import SplitStore
from pointrecon.tools.evaluators.label_probe import LabelProbe
from pointrecon.tools.settings import Settings


@EVALUATORS.register("knn")
class KNNProbe(LabelProbe):
    """The k labelled objects with the largest cosine vote, each with exp(cosine / temperature).

    The vote of Wu et al. (Instance discrimination, CVPR 2018), as self-supervised encoders of images are measured
    (DINO, ICCV 2021), on [max over queries; max + mean over patches], less the mean of the labelled objects: without
    that, all cosines are near one.

    Args:
        cfg: the whole config.
        name: what the config calls it.
        store: gives the data sets.
        split: the objects that are measured; it learns from `train`.
        k: neighbors that vote; all, if there are fewer.
        temperature: the smaller, the more the nearest count.
        shots: labelled objects a class; null: all.
        draws: how often those objects are drawn; the accuracy is the mean over the draws.

    Raises:
        InputError: an option out of range, or data that cannot be read.
    """

    def __init__(
        self,
        cfg: Settings,
        *,
        name: str,
        store: SplitStore,
        split: str = "test",
        k: int = 20,
        temperature: float = 0.07,
        shots: int | None = None,
        draws: int = 1,
    ) -> None:
        super().__init__(cfg, name=name, store=store, split=split, shots=shots, draws=draws)
        self.check_number("k", k, least=1, is_whole=True)
        self.check_number("temperature", temperature, least=0, above=True)
        self.k, self.temperature = k, temperature

    def predict(self, x: np.ndarray, y: np.ndarray, x_test: np.ndarray) -> np.ndarray:
        """As `LabelProbe.predict`."""
        return vote(x, y, x_test, k=self.k, temperature=self.temperature)


def vote(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, *, k: int, temperature: float) -> np.ndarray:
    """The class with the largest sum of votes, the first of equal ones.

    Args:
        x: (n, D) features of labelled objects.
        y: (n,) int64, their classes.
        x_test: (m, D) features.
        k: neighbors that vote.
        temperature: of the votes, above zero.

    Returns:
        (m,) int64.
    """
    center = torch.from_numpy(x).double().mean(dim=0)
    known, asked = (F.normalize(torch.from_numpy(part).double() - center, dim=1) for part in (x, x_test))
    labels = torch.from_numpy(y)
    num_classes = int(labels.max()) + 1
    found = []
    for part in asked.split(1024):
        cosines, rows = (part @ known.T).topk(min(k, len(known)), dim=1)
        # Less the largest, so that a small temperature overflows nowhere.
        weights = ((cosines - cosines[:, :1]) / temperature).exp()
        votes = weights.new_zeros(len(part), num_classes).scatter_add_(1, labels[rows], weights)
        found.append(votes.argmax(dim=1))
    return torch.cat(found).numpy()
