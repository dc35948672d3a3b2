"""Pretraining: reconstruct the masked patches, distil the teachers into the queries."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointrecon.datasets.loader import collate
from pointrecon.datasets.transforms import join_colors
from pointrecon.models.recon import ReCon
from pointrecon.tools.build import build_dataset, build_pretrainer, eval_transform, train_transform
from pointrecon.tools.context import RunContext
from pointrecon.tools.protocol import has_quirk
from pointrecon.tools.settings import Settings
from pointrecon.tools.tasks import TASKS
from pointrecon.tools.tasks.base import Task
from pointrecon.tools.teachers.teachers import Teachers, picture_options
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write
from pointrecon.utils.seed import generator

NUM_PICTURED = 8


@TASKS.register("pretrain")
class PretrainTask(Task):
    """Trains `ReCon` on the split `pretrain`; evaluates with whatever `evaluators` names.

    Args:
        cfg: the whole config.
        ctx: the run's surroundings.
    """

    model: ReCon

    def __init__(self, cfg: Settings, ctx: RunContext) -> None:
        super().__init__(cfg, ctx)
        whole = {"whole": True} if has_quirk(cfg, "whole_shapenet") else {}
        dataset = build_dataset(cfg, "pretrain", shots=None, **whole, **picture_options(cfg))
        self.teachers = Teachers(cfg, dataset, ctx)
        self.transform = train_transform(cfg["data"], dataset, cfg["model"]["color_fill"])
        self.eval_transform = eval_transform(cfg["data"], dataset)
        self.set_model(build_pretrainer(cfg, self.teachers.dims))
        self.set_data(dataset)
        self.dataset = dataset

    def prepare(self, batch: Mapping[str, Any]) -> tuple[Tensor | None, ...]:
        """Points (B, N, 3 or 6), labels (B,), and what the teachers say of them, in the order of `target_names`."""
        clouds = join_colors(batch, self.ctx.device, is_colored=self.cfg["model"]["colors"])
        points = self.transform(clouds, self.generator)
        targets = self.teachers.draw(batch, self.generator)
        self.target_names = tuple(targets)
        labels = each_unlabelled_its_own(batch["label"], self.ctx.rank)
        if self.cfg["loss"]["contrast"]["weight"] and self.cfg["loss"]["contrast"]["positives"] == "shape":
            points = torch.cat([points, self.transform(clouds, self.generator)])
            labels = (torch.arange(len(labels)) + self.ctx.rank * len(labels)).repeat(2)
            targets = {name: torch.cat([target, target]) for name, target in targets.items()}
        return points, labels.to(self.ctx.device, non_blocking=True), *targets.values()

    def compute_loss(self, points: Tensor, labels: Tensor, *targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum of the loss terms, and the terms."""
        named = dict(zip(self.target_names, targets, strict=True))
        terms = self.network(points, named, labels=labels, generator=self.generator)
        loss = sum(terms.values())
        return loss, {"loss": loss.detach(), **{name: term.detach() for name, term in terms.items()}}

    def checkpoint_notes(self) -> dict[str, Any]:
        """Also what is subtracted from the teachers' features: whoever compares words or pictures needs it."""
        means = {name: getattr(source, "mean", None) for name, source in self.teachers.sources.items()}
        means = {name: mean.detach().float().cpu() for name, mean in means.items() if mean is not None}
        return super().checkpoint_notes() | {"feature_means": means}

    def evaluate(self, split: str) -> dict[str, Any]:
        """What the evaluators say; they read their own splits."""
        if self.cfg["figures"] and self.ctx.is_main:
            self._save_reconstructions()
        return self.evaluators.finish()

    @torch.no_grad()
    def _save_reconstructions(self) -> None:
        """reconstructions.npz: some objects that pretraining has not seen, for tools.visualize."""
        try:
            dataset = build_dataset(self.cfg, "test", shots=None)
        except InputError:  # a folder without classes has no test part, and pictures of other objects do as well
            self.ctx.logger.info("reconstructions: there is no test split, so they are of objects that were trained on")
            dataset = self.dataset
        rows = np.linspace(0, len(dataset) - 1, min(NUM_PICTURED, len(dataset))).astype(int)
        samples = [dataset[int(row)] for row in rows]
        clouds = join_colors(collate(samples), self.ctx.device, is_colored=self.cfg["model"]["colors"])
        points = eval_transform(self.cfg["data"])(clouds)
        self.model.eval()
        draw = generator(self.ctx.device, 0)
        split = self.model.draw_split(self.model.encoder.group(points)[1], draw)
        patches, centers, split, rebuilt = self.model.reconstruct(points, split)
        mask = split.to_mask()
        made = {"points": points[..., :3], "patches": patches, "centers": centers, "mask": mask, "rebuilt": rebuilt}
        arrays: dict[str, Any] = {name: x.cpu().numpy() for name, x in made.items()}
        with atomic_write(self.ctx.folder / "reconstructions.npz") as temporary:
            names = [sample["text"] for sample in samples]
            np.savez_compressed(temporary, names=names, **arrays)


def each_unlabelled_its_own(labels: Tensor, rank: int = 0) -> Tensor:
    """(B,) -> (B,): objects of no class (-1) are not one class together; each gets a negative label of its own."""
    own = -1 - torch.arange(len(labels), device=labels.device) - rank * len(labels)
    return torch.where(labels < 0, own, labels)
