"""Evaluators at work while a network trains, as a hook of the loop."""

from pointrecon.tools.context import RunContext
from pointrecon.tools.result import only_numbers
from pointrecon.tools.settings import Settings
from pointrecon.tools.tasks.base import Task
from pointrecon.tools.training.hooks import Hook


class Probes(Hook):
    """Runs each evaluator that has an `every` at the ends of the epochs that this divides.

    Args:
        task: has the evaluators.
        ctx: its logger is told the accuracies.
    """

    name = split = "probe"

    def __init__(self, task: Task, ctx: RunContext) -> None:
        self.evaluators, self.logger = task.evaluators, ctx.logger

    def after_epoch(self, *, epoch: int) -> dict[str, float]:
        """What the evaluators say whose turn it is."""
        due = [name for name, every in self.evaluators.probes.items() if epoch % every == 0]
        if not due:
            return {}
        metrics = only_numbers(self.evaluators.probe(due))
        names = [f"{name}_{self.evaluators.evaluators[name].monitor}" for name in due]
        shown = "  ".join(f"{name} {metrics[name]:.4f}" for name in names if name in metrics)
        self.logger.info(f"epoch {epoch}: {shown or ', '.join(due)}")
        return metrics


def make_probes(task: Task, cfg: Settings, ctx: RunContext) -> Probes | None:
    """The hook, None if no evaluator has an `every`."""
    return Probes(task, ctx) if task.evaluators.probes else None
