"""Run folders as the report reads them: whatever is there, and a note of what is broken."""

import contextlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pointrecon.tools.sweeps.summary import is_share
from pointrecon.tools.visualize import name_runs
from pointrecon.utils.config import complete_config, flatten
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import read_json
from pointrecon.utils.yaml_text import YAML_ERRORS, parse

CONFIG, METRICS, RESULT = "config.yaml", "metrics.jsonl", "result.json"
MAX_RUNS = 200
MAX_DEPTH = 4  # experiments/<config>/<its folder>/<exp_name>
# Keys that do not make another experiment of a run: where it ran, what it was drawn by, what it kept.
VOLATILE = (
    "seed",
    "device",
    "num_workers",
    "data_root",
    "output_root",
    "resume",
    "resume_changed",
    "figures",
    "keep",
    "keep_epochs",
    "log_every",
    "save_every",
    "save_epochs",
    "compile",
    "cuda_graph",
)
_SEED = re.compile(r"[-_]?seed[-_]?\d+")
_FOLD_OR_SEED = re.compile(r"[-_]?(seed|fold)[-_]?\d+")


@dataclass(frozen=True)
class Run:
    """What a run has left so far.

    Attributes:
        name: as short as tells it from the others.
        folder: its folder.
        config: the whole config, {} if there is none.
        result: result.json, None while it runs.
        records: of metrics.jsonl.
        notes: what could not be read.
    """

    name: str
    folder: Path
    config: Mapping[str, Any]
    result: Mapping[str, Any] | None
    records: Sequence[Mapping[str, Any]]
    notes: list[str] = field(default_factory=list)

    @property
    def seed(self) -> int:
        """Of the run; 0 if nobody says."""
        return int(self.config.get("seed") or 0)

    @property
    def epochs(self) -> tuple[int, int]:
        """How many are done, and how many there are to be."""
        done = max((int(record["epoch"]) for record in self.records), default=0)
        return done, int(self.config.get("epochs") or done)

    @cached_property
    def flat(self) -> dict[str, Any]:
        """The config, key by key."""
        return flatten(self.config)

    def identity(self, *, across_folds: bool = False) -> str:
        """The same for runs of which nothing but the seed differs, that of the pretraining that they start from too.

        Args:
            across_folds: the fold may differ as well.
        """
        left_out = (*VOLATILE, *(("data.fold",) if across_folds else ()))
        kept = {key: value for key, value in self.flat.items() if key not in left_out}
        pattern = _FOLD_OR_SEED if across_folds else _SEED
        return pattern.sub("", json.dumps(kept, sort_keys=True, default=str))

    def files(self, pattern: str) -> list[Path]:
        """Files of the run by name."""
        return sorted(path for path in self.folder.glob(pattern) if path.is_file())


def find_runs(places: Iterable[Path]) -> list[Run]:
    """Reads run folders, and those that lie inside a folder of runs.

    Raises:
        InputError: A place does not exist or holds no run, or there are more than 200.
    """
    folders: list[Path] = []
    for place in places:
        if not place.is_dir():
            raise InputError(f"run folder '{place}' does not exist; give the folder that a run has written")
        inside = sorted(_walk(place, MAX_DEPTH))
        if not inside:
            raise InputError(f"'{place}' holds no run: neither it nor a folder in it has {CONFIG} or {METRICS}")
        folders += inside
    if len(folders) > MAX_RUNS:
        raise InputError(f"there are {len(folders)} runs, but a report shows {MAX_RUNS} at most; name those you want")
    return [read_run(name, folder) for name, folder in name_runs(folders).items()]


def _walk(folder: Path, depth: int) -> list[Path]:
    if (folder / CONFIG).is_file() or (folder / METRICS).is_file():
        return [folder]
    if not depth:
        return []
    with contextlib.suppress(OSError):
        inner = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
        return [found for path in inner for found in _walk(path, depth - 1)]
    return []


def read_run(name: str, folder: Path) -> Run:
    """Reads what there is; broken files become notes."""
    from pointrecon.tools.visualize.files import read_metrics

    notes: list[str] = []
    config: Mapping[str, Any] = {}
    result: Mapping[str, Any] | None = None
    records: list[dict[str, Any]] = []
    if (folder / CONFIG).is_file():
        try:
            tree = parse((folder / CONFIG).read_text(encoding="utf-8"))
            config = complete_config(tree, f"'{folder / CONFIG}'")
        except (OSError, *YAML_ERRORS) as error:
            notes.append(f"{CONFIG} cannot be read: {_short(error)}")
    if (folder / METRICS).is_file() and (folder / METRICS).stat().st_size:
        try:
            records = read_metrics(folder / METRICS)
        except InputError as error:
            notes.append(_short(error))
    if (folder / RESULT).is_file():
        try:
            found = read_json(folder / RESULT)
            result = found if isinstance(found, dict) else None
        except InputError as error:
            notes.append(_short(error))
    return Run(name, folder, config, result, records, notes)


def group_runs(runs: Sequence[Run], *, across_folds: bool = False) -> dict[str, list[Run]]:
    """Runs of which nothing but the seed differs, by a name of their own.

    Args:
        runs: any.
        across_folds: runs on other folds belong together too.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        key = run.identity(across_folds=across_folds) if run.config else str(run.folder)
        groups.setdefault(key, []).append(run)
    named: dict[str, list[Run]] = {}
    pattern = _FOLD_OR_SEED if across_folds else _SEED
    for members in groups.values():
        name = members[0].name if len(members) == 1 else pattern.sub("", members[0].name) or members[0].name
        number = 2
        while name in named:
            name, number = f"{members[0].name} ({number})", number + 1
        named[name] = members
    return named


def shares(result: Mapping[str, Any] | None, *, with_training: bool = False) -> dict[str, float]:
    """The accuracies of a result."""
    return {
        name: float(value)
        for name, value in (result or {}).items()
        if isinstance(value, (int, float))
        and not isinstance(value, bool)
        and is_share(name)
        and 0 <= value <= 1
        and (with_training or not name.startswith("train_"))
    }


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
