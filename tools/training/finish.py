"""The end of a run: the test split is read once, result.json and the pictures are written."""

from typing import Any

from pointrecon.tools.checkpoints.snapshot import State
from pointrecon.tools.context import RunContext
from pointrecon.tools.result import describe_metrics, make_result, only_numbers
from pointrecon.tools.settings import Settings
from pointrecon.tools.tasks.base import Task
from pointrecon.utils.files.io import write_json
from pointrecon.utils.log import format_seconds


def finish(task: Task, cfg: Settings, ctx: RunContext, *, state: State, seconds: float) -> dict[str, Any]:
    """Evaluates the model as it is on the test split, and writes what a run leaves.

    Args:
        task: has the model that is measured.
        cfg: the whole config.
        ctx: the run's surroundings.
        state: how far the run is.
        seconds: of the run, up to here.

    Returns:
        What is in result.json.
    """
    metrics = task.evaluate("test")
    result = make_result(task, cfg, ctx, state=state, metrics=metrics, seconds=seconds)
    ctx.metrics.write("test", state.epoch, state.step, only_numbers(metrics))
    if ctx.is_main:
        write_json(result, ctx.folder / "result.json")
        ctx.logger.info(f"{describe_metrics(metrics)}in {format_seconds(seconds)}; {ctx.folder}")
        if cfg["figures"]:
            from pointrecon.tools.visualize import draw_run  # matplotlib is slow to import

            ctx.metrics.close()
            draw_run(ctx.folder, kind="png" if cfg["figures"] is True else str(cfg["figures"]))
    return result
