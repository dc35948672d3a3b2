"""Classification: full fine-tuning, a probe on a frozen backbone, or training from scratch."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.loader import eval_loader, shared_batches
from pointrecon.datasets.sample import Batch
from pointrecon.datasets.transforms import join_colors
from pointrecon.models.heads import check_finite
from pointrecon.tools.build import build_classifier, build_dataset, eval_transform, train_transform
from pointrecon.tools.context import RunContext
from pointrecon.tools.evaluators.accuracy import report_on, save_predictions
from pointrecon.tools.protocol import has_quirk, selection, vote_augment
from pointrecon.tools.settings import DataSettings, Settings
from pointrecon.tools.tasks import TASKS
from pointrecon.tools.tasks.base import Task, head_of_start
from pointrecon.utils.errors import InputError
from pointrecon.utils.processes import distributed
from pointrecon.utils.seed import generator

PUBLISHED_TRIALS = 299


@TASKS.register("classify")
class ClassifyTask(Task):
    """Trains `PointClassifier` on the split `train`.

    Args:
        cfg: the whole config.
        ctx: the run's surroundings.
    """

    monitor = "accuracy"
    class_names: list[str]

    def __init__(self, cfg: Settings, ctx: RunContext) -> None:
        super().__init__(cfg, ctx)
        splits = ("test", *(("train",) if cfg["epochs"] else ()), *(("val",) if selection(cfg) == "val" else ()))
        self.datasets = {split: build_dataset(cfg, split) for split in splits}
        test = self.datasets["test"]
        # A head may have more outputs than this data set has classes: one that is fine-tuned on a part of them.
        num_outputs = cfg["classifier"]["num_classes"] or test.num_classes
        self.class_names = [*test.class_names, *(f"unused {n}" for n in range(test.num_classes, num_outputs))]
        self.transform = train_transform(cfg["data"], test, cfg["model"]["color_fill"])
        self.eval_transform = eval_transform(cfg["data"], test)
        data: DataSettings = {**cfg["data"], "augment": vote_augment(cfg)}
        self.vote_transform = train_transform(data, test)
        _check_classifier(cfg, ctx, test)
        self.set_model(build_classifier(cfg, test.num_classes), **head_of_start(cfg, cfg["classifier"]["init_head"]))
        self.set_data(self.datasets.get("train"), test)

    def prepare(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Points (B, N, 3 or 6) and labels (B,)."""
        points = self.transform(self._clouds(batch), self.generator)
        return points, batch["label"].to(self.ctx.device, non_blocking=True)

    def compute_loss(self, points: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy, and the accuracy on the augmented batch."""
        output = self.network(points)
        logits, terms = output if isinstance(output, tuple) else (output, {})  # some have further losses
        logits = logits.float()
        entropy = F.cross_entropy(logits, labels, label_smoothing=self.cfg["classifier"]["label_smoothing"])
        loss = sum(terms.values(), entropy)
        accuracy = (logits.detach().argmax(dim=1) == labels).float().mean()
        parts = {name: term.detach() for name, term in terms.items()}
        return loss, {"loss": loss.detach(), "accuracy": accuracy, **parts}

    def evaluate(self, split: str) -> dict[str, Any]:
        """Overall and mean-class accuracy on `val` or `test`; with `num_votes` of the vote, and each vote's own."""
        metrics, (scores, labels, ids) = self._vote(split) if self.cfg["num_votes"] else ({}, self._predict(split))
        predictions = scores.argmax(dim=1)
        if split == "test" and self.ctx.is_main:
            is_share = self.cfg["num_votes"] and not has_quirk(self.cfg, "published_votes")
            save_predictions(
                self.ctx.folder / "predictions.npz",
                ids=ids,
                labels=labels,
                predictions=predictions,
                class_names=self.class_names,
                probabilities=scores if is_share else scores.softmax(dim=1),
            )
        metrics = report_on(self.datasets[split], predictions, labels) | metrics
        if split == "test":
            metrics |= self.evaluators.finish()
        return metrics

    def _vote(self, split: str) -> tuple[dict[str, Any], tuple[Tensor, Tensor, list[str]]]:
        """The mean prediction over `num_votes` random variants of each shape, and what it is made of.

        Published practice repeats the vote and reports the best time; here one vote of a fixed size counts.
        """
        trials = PUBLISHED_TRIALS if has_quirk(self.cfg, "best_of_votes") else 1
        mean, predictions, labels, ids = self._predict_variants(split, trials, self.cfg["num_votes"])
        accuracies = [_accuracy(mean[:, trial].argmax(dim=1), labels) for trial in range(trials)]
        best = max(range(trials), key=lambda trial: (accuracies[trial], trial))
        each = [_accuracy(predictions[:, best, vote], labels) for vote in range(self.cfg["num_votes"])]
        metrics: dict[str, Any] = {"num_votes": self.cfg["num_votes"], "vote_accuracies": each}
        if trials > 1:
            metrics |= {"num_vote_trials": trials, "mean_vote_accuracy": sum(accuracies) / trials}
        return metrics, (mean[:, best], labels, ids)

    @torch.inference_mode()
    def _predict(self, split: str) -> tuple[Tensor, Tensor, list[str]]:
        """Logits (n, C), labels (n,) and ids of a split, gathered over all processes, every object once."""
        self.model.eval()
        rows: list[tuple[Tensor, Tensor, str]] = []
        for batch in self._batches(split):
            points = self.eval_transform(self._clouds(batch))
            rows += zip(self.model(points).float().cpu(), batch["label"], batch["id"], strict=True)
        logits, labels, ids = zip(*distributed.gather_in_order(rows), strict=True)
        scores = torch.stack(logits)
        check_finite(scores, "logits")
        return scores, torch.stack(labels), list(ids)

    @torch.inference_mode()
    def _predict_variants(self, split: str, trials: int, votes: int) -> tuple[Tensor, Tensor, Tensor, list[str]]:
        """The same of random variants, as in training. A shape is read, and its farthest points are found, once.

        Returns:
            mean probabilities of each trial (n, trials, C), or mean logits as published; what each variant is taken for
            (n, trials, votes); labels (n,); ids.
        """
        self.model.eval()
        first = self.cfg["seed"]
        seeds = [range(first + trial * votes, first + (trial + 1) * votes) for trial in range(trials)]
        draws = [[generator(self.ctx.device, seed) for seed in trial] for trial in seeds]
        rows: list[tuple[Tensor, Tensor, Tensor, str]] = []
        for batch in self._batches(split):
            pool = self.vote_transform.choose_pool(self._clouds(batch))
            logits = [[self.model(self.vote_transform.vary(pool, draw)).float() for draw in trial] for trial in draws]
            variants = torch.stack([torch.stack(trial, dim=1) for trial in logits], dim=1)  # (B, trials, votes, C)
            mean, predictions = combine_votes(variants, self.cfg).cpu(), variants.argmax(dim=-1).cpu()
            rows += zip(mean, predictions, batch["label"], batch["id"], strict=True)
        means, votes_of, labels, ids = zip(*distributed.gather_in_order(rows), strict=True)
        scores = torch.stack(means)
        check_finite(scores, "logits")
        return scores, torch.stack(votes_of), torch.stack(labels), list(ids)

    def _clouds(self, batch: Batch) -> Tensor:
        """Stored points (B, N, 3), with colours (B, N, 6), on the device."""
        return join_colors(batch, self.ctx.device, is_colored=self.cfg["model"]["colors"])

    def _batches(self, split: str) -> Iterator[Batch]:
        """This process's share of a split."""
        shard = (self.cfg["num_workers"], self.ctx.rank, self.ctx.world_size)
        return shared_batches(eval_loader(self.datasets[split], self.ctx.batch_size, *shard))


def combine_votes(logits: Tensor, cfg: Settings) -> Tensor:
    """(..., votes, C) -> (..., C): the mean of the probabilities or, as published, of the logits."""
    # parity: the published code adds the logits up.
    scores = logits if has_quirk(cfg, "published_votes") else logits.softmax(dim=-1)
    return scores.mean(dim=-2)


def _check_classifier(cfg: Settings, ctx: RunContext, dataset: PointCloudDataset) -> None:
    """Finds out before training what would fail in its first step."""
    outputs, num_classes = cfg["classifier"]["num_classes"], dataset.num_classes
    if outputs is not None and outputs < num_classes:
        raise InputError(
            f"classifier.num_classes is {outputs}, but {cfg['data']['type']} has {num_classes} classes; give at least "
            f"{num_classes}, or null"
        )
    if cfg["epochs"] and cfg["classifier"]["head"] == "mlp3" and ctx.batch_size < 2:
        raise InputError(
            f"batch_size is {cfg['batch_size']} over {ctx.world_size} processes, but the head mlp3 normalises over a "
            f"batch; give at least {2 * ctx.world_size}, or classifier.head=linear"
        )


def _accuracy(predictions: Tensor, labels: Tensor) -> float:
    return (predictions == labels).double().mean().item()
