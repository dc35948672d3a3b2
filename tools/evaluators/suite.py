"""The section `evaluators`: what is measured besides a task's own metrics, at the end and while a network trains."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from pointrecon.tools.context import RunContext
from pointrecon.tools.evaluators import EVALUATORS
from pointrecon.tools.evaluators.base import Evaluator
from pointrecon.tools.evaluators.encoder import SplitEncoder, SplitStore, make_encode
from pointrecon.tools.settings import Settings
from pointrecon.utils.config import check_part, merge
from pointrecon.utils.errors import InputError
from pointrecon.utils.seed import rng_state, set_rng_state

# What a section `data` says of its own data set and of no other.
OF_ONE_DATASET: dict[str, Any] = {"fold": None, "way": None, "shots": None, "options": {}}


class EvaluatorSuite:
    """The evaluators of a run, with their data sets and what they see of the network.

    Nothing that happens here leaves a trace in the random numbers or in the modes of the network, so that a run with
    evaluators trains as one without.

    Args:
        cfg: the whole config.
        ctx: the run's surroundings.

    Attributes:
        evaluators: by name.

    Raises:
        InputError: an option that an evaluator does not have or that is out of range, or data that cannot be read.
    """

    def __init__(self, cfg: Settings, ctx: RunContext) -> None:
        self.cfg, self.ctx, self.store = cfg, ctx, SplitStore()
        with undisturbed():
            self.evaluators = {name: self.build(name, options) for name, options in cfg["evaluators"].items()}

    def build(self, name: str, options: Mapping[str, Any] | None, **changes: Any) -> Evaluator:
        """One evaluator.

        Args:
            name: what the config calls it; its type too, unless `options` has one.
            options: its part of the section.
            changes: win over `options`.
        """
        if options is not None and not isinstance(options, Mapping):
            raise InputError(
                f"evaluators.{name} is {options!r}, but must be a section with its options, such as "
                f"'{name}: {{}}' or evaluators.{name}.every=10"
            )
        options = {"type": name, **(options or {})}
        cfg: Settings = {**self.cfg, "data": own_data(self.cfg, name, options.get("data"))}
        given = {key: value for key, value in options.items() if key not in ("data", "every")} | changes
        return EVALUATORS.build(given, cfg=cfg, name=name, store=self.store)

    def set_model(self, model: nn.Module) -> None:
        """Takes the network over, and finds out whether it has what the evaluators need.

        Raises:
            InputError: it has not.
        """
        device, batch_size = self.ctx.device, self.cfg["batch_size"]
        self.encoder = SplitEncoder(make_encode(model), device=device, batch_size=batch_size)
        with undisturbed():
            for evaluator in self.evaluators.values():
                dataset = self.store.get(evaluator.cfg, evaluator.split)
                evaluator.check(self.encoder.embed_first(dataset, evaluator.cfg["data"]))

    def run(self, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Metrics of the evaluators, each under `<name>_<metric>`; called in all processes.

        Args:
            names: those to run; None: all of them.
        """
        results = {}
        self.encoder.forget()
        for name in self.evaluators if names is None else names:
            metrics = self.evaluators[name].run(self.encoder, self.ctx)
            results |= {f"{name}_{metric}": value for metric, value in metrics.items()}
        self.encoder.forget()  # they may be large
        return results

    def finish(self) -> dict[str, Any]:
        """Runs all evaluators, and writes what they found out besides metrics into the run folder."""
        results = self.run()
        if self.ctx.is_main:
            for evaluator in self.evaluators.values():
                evaluator.save(self.ctx.folder)
        return results


@contextmanager
def undisturbed() -> Iterator[None]:
    """The block may draw random numbers; those after it are as if it had not."""
    state = rng_state()
    try:
        yield
    finally:
        set_rng_state(state)


def own_data(cfg: Settings, name: str, changes: Mapping[str, Any] | None) -> Any:
    """The section `data` of an evaluator: that of the run with the evaluator's changes.

    With another `type`, what the run says of its own data set (fold, way, shots, options) does not count.

    Args:
        cfg: the whole config.
        name: of the evaluator.
        changes: its own section `data`.

    Raises:
        InputError: a key that `data` does not have, or a value of another type.
    """
    if changes is None:
        return cfg["data"]
    if not isinstance(changes, Mapping):
        raise InputError(f"evaluators.{name}.data is {changes!r}, but must be a section, such as {{type: ModelNet40}}")
    checked = check_part({"data": changes}, f"evaluators.{name}")["data"]
    is_another = checked.get("type", cfg["data"]["type"]) != cfg["data"]["type"]
    return merge({**cfg["data"], **(OF_ONE_DATASET if is_another else {})}, checked)
