"""Part segmentation: fine-tuning, or training from scratch.

Shape legend: B batch, N points, P parts, n objects.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.loader import eval_loader, shared_batches
from pointrecon.datasets.sample import Batch
from pointrecon.datasets.transforms import PointTransform, join_colors
from pointrecon.models.heads import check_finite
from pointrecon.tools.build import build_dataset, build_segmenter
from pointrecon.tools.context import RunContext
from pointrecon.tools.evaluators.part_iou import (
    format_report,
    make_belongs,
    object_ious,
    part_iou_report,
    predict_parts,
    save_part_ious,
)
from pointrecon.tools.protocol import has_quirk, selection
from pointrecon.tools.settings import DataSettings, Settings
from pointrecon.tools.tasks import TASKS
from pointrecon.tools.tasks.base import Task, head_of_start
from pointrecon.utils.errors import InputError
from pointrecon.utils.processes import distributed
from pointrecon.utils.seed import generator


@TASKS.register("segment")
class SegmentTask(Task):
    """Trains `PointSegmenter` on the split `train`.

    Args:
        cfg: the whole config.
        ctx: the run's surroundings.

    Raises:
        InputError: a data set without part labels, or options under which points would lose theirs.
    """

    monitor = "instance_miou"

    def __init__(self, cfg: Settings, ctx: RunContext) -> None:
        super().__init__(cfg, ctx)
        _check_options(cfg["data"])
        splits = ("train", "test", "val") if selection(cfg) == "val" else ("train", "test")
        # parity: the published code draws the points of test objects at random as well.
        options = {"resample": "random"} if has_quirk(cfg, "resampled_test") else {}
        self.datasets = {split: build_dataset(cfg, split, **options) for split in splits}
        train = self.datasets["train"]
        _check_parts(train, cfg["data"]["type"])
        self.belongs = make_belongs(train.parts_of_class, train.num_parts).to(ctx.device)
        # The points keep their places, since each has its label; the data set has drawn them already.
        num_points, normalize = cfg["data"]["num_points"], cfg["data"]["normalize"]
        fill = cfg["model"]["color_fill"]
        self.transform = PointTransform(num_points, "first", normalize, cfg["data"]["augment"], color_fill=fill)
        self.eval_transform = PointTransform(num_points, "first", normalize)
        model = build_segmenter(cfg, train.num_classes, train.num_parts)
        self.set_model(model, **head_of_start(cfg, cfg["segmenter"]["init_head"]))
        self.set_data(train if cfg["epochs"] else None, self.datasets["test"])

    def prepare(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Points (B, N, 3), categories (B,) and part labels (B, N)."""
        points, labels, parts = self._read(batch)
        return self.transform(points, self.generator), labels, parts

    def compute_loss(self, points: Tensor, labels: Tensor, parts: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy over all points and all parts, and the accuracy on the augmented batch."""
        logits = self.network(points, labels).float()
        loss = F.cross_entropy(logits.flatten(0, 1), parts.flatten())
        accuracy = (predict_parts(logits.detach(), labels, self.belongs) == parts).float().mean()
        return loss, {"loss": loss.detach(), "point_accuracy": accuracy}

    def evaluate(self, split: str) -> dict[str, Any]:
        """IoU and point accuracy on `val` or `test`; part_iou.json has them by category and by object."""
        ids, labels, ious, accuracies = self._measure(split)
        report = part_iou_report(ious, labels, self.datasets[split].class_names)
        if split == "test" and self.ctx.is_main:
            save_part_ious(self.ctx.folder / "part_iou.json", report, ids, ious)
            self.ctx.logger.info(f"{split}: intersection over union by category\n{format_report(report)}")
        metrics = {name: report[name] for name in ("instance_miou", "class_miou")}
        metrics |= {"point_accuracy": accuracies.mean().item(), "num_objects": report["num_objects"]}
        if self.cfg["num_votes"]:
            metrics["num_votes"] = self.cfg["num_votes"]
        if split == "test":
            metrics |= self.evaluators.finish()
        return metrics

    @torch.inference_mode()
    def _measure(self, split: str) -> tuple[list[str], Tensor, Tensor, Tensor]:
        """Ids, categories, IoUs and point accuracies (n,) of a split, over all processes, every object once."""
        self.model.eval()
        shard = (self.cfg["num_workers"], self.ctx.rank, self.ctx.world_size)
        rows: list[tuple[str, int, float, float]] = []
        for batch in shared_batches(eval_loader(self.datasets[split], self.ctx.batch_size, *shard)):
            points, labels, parts = self._read(batch)
            scores = self._forward_votes(points, labels)
            check_finite(scores, "logits")
            predictions = predict_parts(scores, labels, self.belongs)
            ious = object_ious(predictions, parts, labels, self.belongs)
            accuracies = (predictions == parts).double().mean(dim=1)
            columns = (labels.tolist(), ious.tolist(), accuracies.tolist())
            rows += zip(batch["id"], *columns, strict=True)
        ids, *found = zip(*distributed.gather_in_order(rows), strict=True)
        labels, ious, accuracies = (torch.tensor(column) for column in found)
        return list(ids), labels, ious, accuracies

    def _forward_votes(self, points: Tensor, labels: Tensor) -> Tensor:
        """(B, N, 3), (B,) -> (B, N, P): logits of the unchanged cloud or, with `num_votes`, the mean over variants."""
        if not self.cfg["num_votes"]:
            return self.model(self.eval_transform(points), labels).float()
        draw = generator(self.ctx.device, self.cfg["seed"])
        total = torch.zeros((), device=points.device)
        for _ in range(self.cfg["num_votes"]):  # one after the other: the scores of many points are large
            total = total + self.model(self.transform(points, draw), labels).float().softmax(dim=-1)
        return total / self.cfg["num_votes"]

    def _read(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Points (B, N, 3), categories (B,) and part labels (B, N) on the device."""
        num_points = self.cfg["data"]["num_points"]
        points = join_colors(batch, self.ctx.device, is_colored=self.cfg["model"]["colors"])[:, :num_points]
        parts = batch["part"][:, :num_points]
        labels, parts = (x.to(self.ctx.device, non_blocking=True) for x in (batch["label"], parts))
        return points, labels, parts


def _check_parts(dataset: PointCloudDataset, name: str) -> None:
    if not dataset.num_parts:
        raise InputError(
            f"data.type is '{name}', whose points have no part labels, but task=segment needs them; give "
            "data.type=ShapeNetPart"
        )


def _check_options(data: DataSettings) -> None:
    """Each point has a label, so none may move onto another and none may change its place."""
    if data["augment"]["dropout"]:
        raise InputError(
            f"data.augment.dropout is {data['augment']['dropout']}, but moved points would keep the labels of "
            "their old places; task=segment needs data.augment.dropout=0"
        )
    if data["sample_pool"] is not None:
        raise InputError(
            f"data.sample_pool is {data['sample_pool']}, but task=segment takes the points that the data set "
            "gives; set data.sample_pool=null"
        )
    if data["eval_sampling"] != "first":
        raise InputError(
            f"data.eval_sampling is '{data['eval_sampling']}', but task=segment measures the points that the data set "
            "gives; set data.eval_sampling=first"
        )
