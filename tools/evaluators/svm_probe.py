"""Linear SVM on the features of a frozen encoder."""

from typing import Any

import numpy as np

from pointrecon.tools.evaluators import EVALUATORS
from pointrecon.tools.evaluators.encoder import SplitStore
from pointrecon.tools.evaluators.label_probe import LabelProbe
from pointrecon.tools.protocol import has_quirk
from pointrecon.tools.settings import Settings


@EVALUATORS.register("svm")
class SVMProbe(LabelProbe):
    """LinearSVC on [max over queries; max + mean over patches] (ReCon, section 4.2).

    Args:
        cfg: the whole config.
        name: what the config calls it.
        store: gives the data sets.
        split: the objects that are measured; it learns from `train`.
        C: inverse regularisation (published: 0.075).
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
        C: float = 0.075,
        shots: int | None = None,
        draws: int = 1,
    ) -> None:
        super().__init__(cfg, name=name, store=store, split=split, shots=shots, draws=draws)
        self.check_number("C", C, least=0, above=True)
        self.C = C
        batch_size = cfg["batch_size"]
        if shots is None and has_quirk(cfg, "svm_drop_last") and len(self.train) > batch_size:
            kept = len(self.train) // batch_size * batch_size
            self.rows = [np.random.RandomState(cfg["seed"]).permutation(len(self.train))[:kept]]

    def predict(self, x: np.ndarray, y: np.ndarray, x_test: np.ndarray) -> Any:
        """As `LabelProbe.predict`."""
        from sklearn.svm import LinearSVC

        return LinearSVC(C=self.C, random_state=0, max_iter=10_000).fit(x, y).predict(x_test)
