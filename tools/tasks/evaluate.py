"""Evaluation of a pretrained network: zero-shot, SVM probe, embeddings. Trains nothing."""

from typing import Any

from pointrecon.tools.build import build_dataset, build_pretrainer
from pointrecon.tools.checkpoints.checkpoint import read_checkpoint
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
        model = build_pretrainer(cfg, *_projection_dims(cfg, ctx))
        self.set_model(model, skip=("decoder.", "contrast_head."))

    def evaluate(self, split: str) -> dict[str, Any]:
        """What the evaluators say; they read their own splits."""
        return self.evaluators.finish()


def _projection_dims(cfg: Settings, ctx: RunContext) -> tuple[int | None, int | None]:
    """Widths of the two projections: the checkpoint's or, with random weights, the teachers' if they are compared."""
    if not cfg["init"] and not _has_zero_shot(cfg):
        return None, None
    if not cfg["init"]:
        return teacher_dims(cfg, build_dataset(cfg, "test", shots=None), ctx)
    state = read_checkpoint(cfg["init"])["base_model"]
    weights = (state.get(f"{name}_proj.weight") for name in ("image", "text"))
    image_dim, text_dim = (None if weight is None else weight.shape[0] for weight in weights)
    return image_dim, text_dim


def _has_zero_shot(cfg: Settings) -> bool:
    """Whether one of the evaluators compares with prompts."""
    return any((options or {}).get("type", name) == "zero_shot" for name, options in cfg["evaluators"].items())
