"""Evaluation of a pretrained network: zero-shot, SVM probe, embeddings. Trains nothing."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pointrecon.tools.build import build_dataset, build_pretrainer, eval_transform
from pointrecon.tools.checkpoints.checkpoint import load_weights, read_checkpoint
from pointrecon.tools.protocol import has_quirk
from pointrecon.tools.tasks import TASKS
from pointrecon.tools.tasks.encoding import build_evaluators, make_encode, run_evaluators
from pointrecon.tools.teachers.teachers import teacher_dims
from pointrecon.utils.errors import InputError


@TASKS.register("evaluate")
class EvaluateTask:
    """Runs the `evaluators` on a checkpoint or, without `init`, on random weights.

    Args:
        cfg: the whole config; `epochs` must be 0.
        ctx: the run's surroundings.
    """

    def __init__(self, cfg: Mapping[str, Any], ctx: Any) -> None:
        if cfg["epochs"]:
            raise InputError(f"epochs is {cfg['epochs']}, but task=evaluate trains nothing; set epochs=0")
        if not cfg["evaluators"]:
            raise InputError("evaluators is empty, so there is nothing to do; see cfgs/quickstart/svm.yaml")
        self.ctx = ctx
        self.evaluators = build_evaluators(cfg)
        self.model = build_pretrainer(cfg, *_projection_dims(cfg, ctx)).to(ctx.device)
        self.network = self.model
        if cfg["init"]:
            # Nothing here reconstructs, so the patches may be of another size than in pretraining.
            ctx.logger.info(f"init: {load_weights(self.model, cfg['init'], skip=('decoder.', 'contrast_head.'))}")
        else:
            ctx.logger.info("init: random weights")
        self.train_loader = None
        self.monitor = None
        is_random = has_quirk(cfg, "train_and_test") and _has_zero_shot(cfg)
        data = {**cfg["data"], "eval_sampling": "random"} if is_random else cfg["data"]
        self.encode = make_encode(self.model, eval_transform(data), ctx.device)

    def training_step(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Never called."""
        raise AssertionError("task=evaluate trains nothing")

    def evaluate(self, split: str) -> dict[str, Any]:
        """What the evaluators say; they read their own splits."""
        return run_evaluators(self.evaluators, self.encode, self.ctx)


def _projection_dims(cfg: Mapping[str, Any], ctx: Any) -> tuple[int | None, int | None]:
    """Widths of the two projections: the checkpoint's or, with random weights, the teachers' if they are compared."""
    if not cfg["init"] and not _has_zero_shot(cfg):
        return None, None
    if not cfg["init"]:
        return teacher_dims(cfg, build_dataset(cfg, "test", shots=None), ctx)
    state = read_checkpoint(cfg["init"])["base_model"]
    weights = (state.get(f"{name}_proj.weight") for name in ("image", "text"))
    image_dim, text_dim = (None if weight is None else weight.shape[0] for weight in weights)
    return image_dim, text_dim


def _has_zero_shot(cfg: Mapping[str, Any]) -> bool:
    """Whether one of the evaluators compares with prompts."""
    return any((options or {}).get("type", name) == "zero_shot" for name, options in cfg["evaluators"].items())
