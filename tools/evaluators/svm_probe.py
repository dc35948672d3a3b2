"""Linear SVM on the features of a frozen encoder."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from pointrecon.models.heads import probe_feature
from pointrecon.tools.build import build_dataset
from pointrecon.tools.evaluators import EVALUATORS
from pointrecon.tools.evaluators.accuracy import report_on
from pointrecon.tools.evaluators.base import Encode, encode_dataset
from pointrecon.tools.protocol import has_quirk


@EVALUATORS.register("svm")
class SVMProbe:
    """LinearSVC on [max over queries; max + mean over patches] (ReCon, section 4.2).

    Args:
        cfg: the whole config.
        C: inverse regularisation (published: 0.075).
        shots: labelled objects a class; null: all.
        draws: how often those objects are drawn; the accuracy is the mean over the draws.
    """

    def __init__(self, cfg: Mapping[str, Any], C: float = 0.075, shots: int | None = None, draws: int = 1) -> None:
        self.C = C
        self.batch_size = cfg["batch_size"]
        self.train = build_dataset(cfg, "train", shots=None)
        self.test = build_dataset(cfg, "test", shots=None)
        self.rows = [np.arange(len(self.train))]
        if has_quirk(cfg, "svm_drop_last") and len(self.train) > self.batch_size:
            kept = len(self.train) // self.batch_size * self.batch_size
            self.rows = [np.random.RandomState(cfg["seed"]).permutation(len(self.train))[:kept]]
        if shots is not None:
            row_of = {key: row for row, key in enumerate(self.train.ids)}
            drawn = (build_dataset(cfg, "train", shots=shots, seed=cfg["seed"] + draw) for draw in range(draws))
            self.rows = [np.array([row_of[key] for key in dataset.ids]) for dataset in drawn]

    def run(self, encode: Encode, ctx: Any) -> dict[str, Any]:
        """Returns `accuracy`, `mean_class_accuracy`, `num_objects`, and for several draws their standard deviation."""
        from sklearn.svm import LinearSVC

        (x, y), (x_test, y_test) = (self._features(encode, dataset) for dataset in (self.train, self.test))
        reports = []
        for rows in self.rows:
            classifier = LinearSVC(C=self.C, random_state=0, max_iter=10_000).fit(x[rows], y[rows])
            predictions = torch.from_numpy(classifier.predict(x_test))
            reports.append(report_on(self.test, predictions, torch.from_numpy(y_test)))
        mean = {name: float(np.mean([report[name] for report in reports])) for name in reports[0]}
        mean |= {"num_objects": len(y_test), "num_train_objects": len(self.rows[0])}
        if len(reports) > 1:
            mean["accuracy_std"] = float(np.std([report["accuracy"] for report in reports], ddof=1))
        return mean

    def _features(self, encode: Encode, dataset: Any) -> tuple[np.ndarray, np.ndarray]:
        embedding, labels, _ = encode_dataset(encode, dataset, self.batch_size)
        return probe_feature(embedding.queries, embedding.tokens).numpy(), labels.numpy()
