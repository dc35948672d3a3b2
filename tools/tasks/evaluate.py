"""Evaluation of a pretrained network: zero-shot, SVM probe, embeddings. Trains nothing."""

from typing import Any

import torch

from pointrecon.datasets.loader import collate
from pointrecon.datasets.transforms import join_colors
from pointrecon.models.recon import ReCon
from pointrecon.tools.build import build_dataset, build_pretrainer, eval_transform
from pointrecon.tools.checkpoints.sizes import projection_dims
from pointrecon.tools.context import RunContext
from pointrecon.tools.evaluators.suite import undisturbed
from pointrecon.tools.settings import Settings
from pointrecon.tools.tasks import TASKS
from pointrecon.tools.tasks.base import Task
from pointrecon.tools.teachers.teachers import teacher_dims
from pointrecon.utils.errors import InputError

NUM_BATCHES = 10  # of training objects that a random network is shown


@TASKS.register("evaluate")
class EvaluateTask(Task):
    """Runs the `evaluators` on a checkpoint or, without `init`, on random weights.

    Args:
        cfg: the whole config; `epochs` must be 0.
        ctx: the run's surroundings.
    """

    model: ReCon

    def __init__(self, cfg: Settings, ctx: RunContext) -> None:
        if cfg["epochs"]:
            raise InputError(f"epochs is {cfg['epochs']}, but task=evaluate trains nothing; set epochs=0")
        if not cfg["evaluators"]:
            raise InputError("evaluators is empty, so there is nothing to do; see cfgs/quickstart/svm.yaml")
        super().__init__(cfg, ctx)
        # Nothing here reconstructs, so the patches may be of another size than in pretraining.
        model = build_pretrainer(cfg, self.find_projection_dims())
        self.set_model(model, skip=("decoder.", "contrast_head."))
        self.set_data()
        if self.start is None:
            with undisturbed():
                self.learn_statistics()

    @torch.no_grad()
    def learn_statistics(self) -> None:
        """Shows training objects to a network with random weights: its batch-norms have not seen any batch yet."""
        try:
            dataset = build_dataset(self.cfg, "train", shots=None)
        except InputError as error:
            self.ctx.logger.warning(f"the batch-norms of the random network stay at their start, since {error}")
            return
        transform, size = eval_transform(self.cfg["data"], dataset), self.cfg["batch_size"]
        rows = torch.linspace(0, len(dataset) - 1, min(len(dataset), NUM_BATCHES * size)).long().unique()
        self.model.train()
        for part in rows.split(size):
            if len(part) > 1:
                batch = collate([dataset[row] for row in part.tolist()])
                points = join_colors(batch, self.ctx.device, is_colored=self.cfg["model"]["colors"])
                self.model.encoder.embed(transform(points))
        self.model.eval()

    def find_projection_dims(self) -> dict[str, int]:
        """Widths of the projections: the checkpoint's or, with random weights, the teachers' if they are compared."""
        if self.start is not None:
            return projection_dims(self.start.content["base_model"])
        cfg = self.cfg
        return teacher_dims(cfg, build_dataset(cfg, "test", shots=None), self.ctx) if _has_zero_shot(cfg) else {}

    def evaluate(self, split: str) -> dict[str, Any]:
        """What the evaluators say; they read their own splits."""
        return self.evaluators.finish()


def _has_zero_shot(cfg: Settings) -> bool:
    """Whether one of the evaluators compares with prompts."""
    return any((options or {}).get("type", name) == "zero_shot" for name, options in cfg["evaluators"].items())
