"""Evaluation of a pretrained network: zero-shot, SVM probe, embeddings. Trains nothing."""

from typing import Any

from pointrecon.tools.build import build_dataset, build_pretrainer
from pointrecon.tools.checkpoints.sizes import projection_dims
from pointrecon.tools.context import RunContext
from pointrecon.tools.settings import Settings
from pointrecon.tools.tasks import TASKS
from pointrecon.tools.tasks.base import Task
from pointrecon.tools.teachers.teachers import teacher_dims
from pointrecon.utils.errors import InputError


@TASKS.register("evaluate")
class EvaluateTask(Task):
    """Runs the `evaluators` on a checkpoint or, without `init`, on random weights.

    Args:
        cfg: the whole config; `epochs` must be 0.
        ctx: the run's surroundings.
    """

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
