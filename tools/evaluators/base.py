"""What an evaluator is: something that is measured on an encoder, on data of its own."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.tools.context import RunContext
from pointrecon.tools.evaluators.encoder import EmbeddedSplit, SplitEncoder, SplitStore
from pointrecon.tools.settings import Settings
from pointrecon.utils.errors import InputError, check_choice

SPLITS = ("test", "val", "train")


class Evaluator(ABC):
    """Measures an encoder on labelled objects.

    The constructor checks all options and reads the data, so that a mistake is known before anything is trained; a
    subclass takes its own options as keywords and hands the rest on.

    Args:
        cfg: the whole config; its section `data` is the evaluator's own.
        name: what the config calls it; its metrics are `<name>_<metric>`.
        store: gives the data sets, each read once in a run.
        split: the objects that are measured.

    Attributes:
        monitor: the metric that `select` compares, higher is better; None if there is none.
    """

    monitor: str | None = "accuracy"

    def __init__(self, cfg: Settings, *, name: str, store: SplitStore, split: str = "test") -> None:
        check_choice(f"evaluators.{name}.split", split, SPLITS)
        self.cfg, self.name, self.store, self.split = cfg, name, store, split

    @abstractmethod
    def run(self, encoder: SplitEncoder, ctx: RunContext) -> dict[str, Any]:
        """Metrics by name. Called in all processes, which must all return the same."""

    def check(self, embedded: EmbeddedSplit) -> None:
        """Raises InputError if what the network makes of an object cannot be evaluated; called before training."""
        return

    def save(self, folder: Path) -> None:
        """Writes what the last `run` found out besides metrics; called at the end, in the main process alone."""
        return

    def probed(self) -> PointCloudDataset | None:
        """The objects that are measured; None: there are none."""
        return self.store.get(self.cfg, self.split)

    def check_number(self, key: str, value: Any, *, least: float, is_whole: bool = False, above: bool = False) -> None:
        """Refuses an option that is no number, or too small.

        Args:
            key: its name.
            value: what was given.
            least: smallest value allowed.
            is_whole: only whole numbers are allowed.
            above: `least` itself is not allowed.
        """
        kinds = (int,) if is_whole else (int, float)
        is_number = isinstance(value, kinds) and not isinstance(value, bool) and value == value and abs(value) < 1e308
        if not is_number or value < least or (above and value == least):
            what = "a whole number" if is_whole else "a number"
            bound = f"above {least:g}" if above else f"of at least {least:g}"
            raise InputError(f"evaluators.{self.name}.{key} is {value!r}, but must be {what} {bound}")

    def check_path(self, key: str, value: Any) -> Path:
        """The path of a file that an option names; refuses what is no text."""
        if not isinstance(value, str | Path):
            raise InputError(f"evaluators.{self.name}.{key} is {value!r}, but must be the path of a file")
        return Path(value)
