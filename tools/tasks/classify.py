"""Classification: full fine-tuning, a probe on a frozen backbone, or training from scratch."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from datasets.loader import eval_loader, train_loader
from tools.build import build_classifier, build_dataset, eval_transform, train_transform
from tools.checkpoint import load_weights
from tools.evaluators.accuracy import report_on, save_predictions
from tools.tasks import TASKS
from tools.tasks.encoding import build_evaluators, make_encode, run_evaluators
from utils import distributed
from utils.seed import generator


@TASKS.register("classify")
class ClassifyTask:
    """Trains `PointClassifier` on the split `train`.

    Args:
        cfg: the whole config.
        ctx: the run's surroundings.
    """

    def __init__(self, cfg: Mapping[str, Any], ctx: Any) -> None:
        self.cfg, self.ctx = cfg, ctx
        splits = ("train", "test", "val") if cfg["select"] == "val" else ("train", "test")
        self.datasets = {split: build_dataset(cfg, split) for split in splits}
        train = self.datasets["train"]
        self.class_names = train.class_names
        self.transform = train_transform(cfg["data"])
        self.eval_transform = eval_transform(cfg["data"])
        self.model = build_classifier(cfg, train.num_classes).to(ctx.device)
        self.network = self.model
        if cfg["init"]:
            ctx.logger.info(f"init: {load_weights(self.model, cfg['init'], may_lack=('head.',))}")
        loader_options = (cfg["num_workers"], cfg["data"]["drop_last"], cfg["seed"], ctx.rank, ctx.world_size)
        self.train_loader = train_loader(train, ctx.batch_size, *loader_options) if cfg["epochs"] else None
        self.monitor = "accuracy"
        self.evaluators = build_evaluators(cfg)
        self.encode = make_encode(self.model, self.eval_transform, ctx.device)
        self.generator = torch.Generator(device=ctx.device)

    def training_step(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy, and the accuracy on the augmented batch."""
        points = self.transform(batch["points"].to(self.ctx.device, non_blocking=True), self.generator)
        labels = batch["label"].to(self.ctx.device)
        logits = self.network(points).float()
        loss = F.cross_entropy(logits, labels, label_smoothing=self.cfg["classifier"]["label_smoothing"])
        accuracy = (logits.detach().argmax(dim=1) == labels).float().mean()
        return loss, {"loss": loss.detach(), "accuracy": accuracy}

    def evaluate(self, split: str) -> dict[str, Any]:
        """Overall and mean-class accuracy on `val` or `test`."""
        logits, labels, ids = self._predict(split)
        predictions = logits.argmax(dim=1)
        if split == "test" and self.ctx.is_main:
            path = self.ctx.folder / "predictions.npz"
            save_predictions(path, ids, labels, predictions, self.class_names)
        metrics = report_on(self.datasets[split], predictions, labels)
        if self.cfg["num_votes"]:
            metrics["num_votes"] = self.cfg["num_votes"]
        if split == "test":
            metrics |= run_evaluators(self.evaluators, self.encode, self.ctx)
        return metrics

    @torch.inference_mode()
    def _predict(self, split: str) -> tuple[Tensor, Tensor, list[str]]:
        """Logits (n, C), labels (n,) and ids of a split, gathered over all processes, every object once."""
        self.model.eval()
        shard = (self.cfg["num_workers"], self.ctx.rank, self.ctx.world_size)
        rows = []
        for batch in eval_loader(self.datasets[split], self.ctx.batch_size, *shard):
            logits = self._forward_votes(batch["points"].to(self.ctx.device))
            rows += zip(logits.cpu(), batch["label"], batch["id"], strict=True)
        rows = [row for part in distributed.all_gather_objects(rows) for row in part]
        logits, labels, ids = zip(*rows, strict=True)
        return torch.stack(logits), torch.stack(labels), list(ids)

    def _forward_votes(self, points: Tensor) -> Tensor:
        """(B, N, 3) -> (B, C): logits of the unchanged cloud or, with `num_votes`, the mean over that many variants."""
        if not self.cfg["num_votes"]:
            return self.model(self.eval_transform(points)).float()
        draw = generator(self.ctx.device, self.cfg["seed"])
        votes = [self.model(self.transform(points, draw)).float().softmax(dim=-1) for _ in range(self.cfg["num_votes"])]
        return torch.stack(votes).mean(dim=0)
