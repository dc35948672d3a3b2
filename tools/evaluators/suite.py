"""The section `evaluators`: what is measured besides a task's own metrics, at the end and while a network trains."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from torch import nn

from pointrecon.tools.context import RunContext
from pointrecon.tools.evaluators import EVALUATORS
from pointrecon.tools.evaluators.base import Evaluator
from pointrecon.tools.evaluators.encoder import SplitEncoder, SplitStore, make_encode
from pointrecon.tools.protocol import SELECTIONS, holds_out, selecting_split, selection
from pointrecon.tools.settings import DataSettings, Settings
from pointrecon.utils.config import check_part, merge
from pointrecon.utils.errors import InputError, check_choice
from pointrecon.utils.seed import rng_state, set_rng_state

# What a section `data` says of its own data set and of no other.
OF_ONE_DATASET: dict[str, Any] = {"root": None, "fold": None, "way": None, "shots": None, "options": {}}


class EvaluatorSuite:
    """The evaluators of a run, with their data sets and what they see of the network.

    Nothing that happens here leaves a trace in the random numbers or in the modes of the network, so that a run with
    evaluators trains as one without.

    Args:
        cfg: the whole config.
        ctx: the run's surroundings.

    Attributes:
        evaluators: by name, as they run at the end.
        probes: those that run while the network trains, by name, with the epochs between two runs.
        selector: the one that chooses the checkpoint; None if none does. It measures validation objects then, and, like
            all, what its option `split` says at the end.

    Raises:
        InputError: an option that an evaluator does not have or that is out of range, or data that cannot be read.
    """

    def __init__(self, cfg: Settings, ctx: RunContext) -> None:
        self.cfg, self.ctx, self.store = cfg, ctx, SplitStore()
        with undisturbed():
            self.evaluators = {name: self.build(name, options) for name, options in cfg["evaluators"].items()}
            self.selector = self._build_selector()
        self.probes = self._find_probes()

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
        taken = next((key for key in ("cfg", "name", "store") if key in options), None)
        if taken is not None:  # the program gives these itself
            raise InputError(
                f"evaluators.{name} takes no option '{taken}'; its name is '{name}' in the section, and "
                "python main.py --list evaluators shows all options"
            )
        data = own_data(self.cfg, name, options.get("data"))
        # The objects that choose the checkpoint are in no other evaluator's training split either.
        select = "val" if holds_out(self.cfg, data_type=data["type"]) else "last"
        cfg: Settings = {**self.cfg, "data": data, "select": select}
        given = {key: value for key, value in options.items() if key not in ("data", "every")} | changes
        try:
            return EVALUATORS.build(given, cfg=cfg, name=name, store=self.store)
        except InputError as error:
            if data is self.cfg["data"] or str(error).startswith("evaluators."):
                raise
            raise InputError(f"evaluators.{name}: {error}") from error  # its `data` has the keys that are named

    def _build_selector(self) -> Evaluator | None:
        name = selection(self.cfg)
        if name in SELECTIONS:
            return None
        split, selector = selecting_split(self.cfg), self.evaluators[name]
        check_choice(f"evaluators.{name}.split", split, ("val", "test"))
        if selector.monitor is None:
            raise InputError(f"select is '{name}', but this evaluator measures nothing that could choose a checkpoint")
        return selector if selector.split == split else self.build(name, self.cfg["evaluators"][name], split=split)

    def _find_probes(self) -> dict[str, int]:
        probes = {}
        for name, evaluator in self.evaluators.items():
            every = (self.cfg["evaluators"][name] or {}).get("every")
            if every is None:
                continue
            evaluator.check_number("every", every, least=1, is_whole=True)
            if not self.cfg["epochs"]:
                raise InputError(f"evaluators.{name}.every is {every}, but nothing is trained (epochs=0); leave it out")
            if self.selector is None or name != self.selector.name:
                probes[name] = every
        return probes

    @property
    def select_every(self) -> int:
        """Epochs between two looks at what chooses the checkpoint."""
        options = self.cfg["evaluators"][self.selector.name] if self.selector is not None else None
        return (options or {}).get("every", self.cfg["eval_every"])

    def set_model(self, model: nn.Module) -> None:
        """Takes the network over, and finds out whether it has what the evaluators need.

        Raises:
            InputError: it has not.
        """
        device, batch_size = self.ctx.device, self.cfg["batch_size"]
        is_colored = self.cfg["model"]["colors"]
        self.encoder = SplitEncoder(make_encode(model), device=device, batch_size=batch_size, is_colored=is_colored)
        with undisturbed():
            for evaluator in self.evaluators.values():
                dataset = self.store.get(evaluator.cfg, evaluator.split)
                evaluator.check(self.encoder.embed_first(dataset, evaluator.cfg["data"]))

    def probe(self, names: Iterable[str]) -> dict[str, Any]:
        """Metrics of some evaluators, each under `<name>_<metric>`, while the network trains; in all processes."""
        with undisturbed():
            return self._run({name: self.evaluators[name] for name in names})

    def validate(self) -> tuple[dict[str, Any], str]:
        """What the evaluator that chooses the checkpoint says, and the name of the metric that counts."""
        assert self.selector is not None, "no evaluator chooses the checkpoint"
        name = self.selector.name
        with undisturbed():
            return self._run({name: self.selector}), f"{name}_{self.selector.monitor}"

    def finish(self) -> dict[str, Any]:
        """Metrics of all evaluators at the end; what else they found out is written into the run folder."""
        results = self._run(self.evaluators)
        if self.ctx.is_main:
            for evaluator in self.evaluators.values():
                evaluator.save(self.ctx.folder)
        return results

    def _run(self, evaluators: Mapping[str, Evaluator]) -> dict[str, Any]:
        results: dict[str, Any] = {}
        self.encoder.forget()
        for name, evaluator in evaluators.items():
            metrics = evaluator.run(self.encoder, self.ctx)
            results |= {f"{name}_{metric}": value for metric, value in metrics.items()}
        self.encoder.forget()  # they may be large
        return results


@contextmanager
def undisturbed() -> Iterator[None]:
    """The block may draw random numbers; those after it are as if it had not."""
    state = rng_state()
    try:
        yield
    finally:
        set_rng_state(state)


def own_data(cfg: Settings, name: str, changes: Mapping[str, Any] | None) -> DataSettings:
    """The section `data` of an evaluator: that of the run with the evaluator's changes.

    With another `type`, what the run says of its own data set (root, fold, way, shots, options) does not count.

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
    return cast(DataSettings, merge({**cfg["data"], **(OF_ONE_DATASET if is_another else {})}, checked))
