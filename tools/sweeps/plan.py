"""A run of many: what main.py would be called with, where its results lie, and what has to be there first."""

import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pointrecon.tools import cli
from pointrecon.tools.context import run_folder
from pointrecon.tools.startup import checks
from pointrecon.utils.config import load_config
from pointrecon.utils.errors import InputError

MAIN = Path(__file__).resolve().parents[2] / "main.py"
RESULT = "result.json"
CHECKPOINT = "ckpt-last.pth"


@dataclass(frozen=True)
class Run:
    """One call of main.py.

    Attributes:
        name: How people know it; no two runs of a sweep have the same.
        config: The YAML file.
        exp_name: Last part of the run folder.
        arguments: The other arguments of main.py.
        after: Names of the runs that have to end well first.
        outputs: Files in the run folder that later runs read, besides result.json.
        num_threads: Of its computations; 0: as torch chooses.
        num_processes: More than one: started with torchrun.
    """

    name: str
    config: str
    exp_name: str
    arguments: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    num_threads: int = 1
    num_processes: int = 1

    def command_line(self, *more: str) -> list[str]:
        """The arguments of main.py, and some more."""
        return ["--config", self.config, "--exp_name", self.exp_name, *self.arguments, *more]

    def command(self, *more: str) -> list[str]:
        """The command that does the run by hand."""
        launcher = ["-m", "torch.distributed.run", f"--nproc_per_node={self.num_processes}"]
        return [sys.executable, *(launcher if self.num_processes > 1 else []), str(MAIN), *self.command_line(*more)]

    def configure(self) -> Any:
        """The resolved config, not to be changed: it is read once until `forget_configs`.

        Raises:
            InputError: A mistake in the config or in the arguments.
        """
        return _configure(self)

    def folder(self) -> Path:
        """The run folder."""
        return run_folder(self.configure().output_root, self.config, self.exp_name)


@functools.lru_cache(maxsize=8192)
def _configure(run: Run) -> Any:
    """Reading a few YAML files takes 20 ms, and a table of hundreds of runs is looked at several times."""
    flags = cli.parse(run.command_line())
    cfg = load_config(flags.config, cli.to_overrides(flags))
    checks.check(flags, cfg)
    return cfg


def forget_configs() -> None:
    """Has configs read again: their files may have changed."""
    _configure.cache_clear()


def check_plan(runs: Sequence[Run]) -> None:
    """Looks at all runs before the first one starts.

    Raises:
        InputError: Two runs of one name or in one folder, a run that waits for one that is not there or comes later,
            or a config that is not right.
    """
    forget_configs()
    names: set[str] = set()
    folders: dict[Path, str] = {}
    for run in runs:
        if run.name in names:
            raise InputError(f"two runs are called '{run.name}'; give each a name of its own")
        missing = [name for name in run.after if name not in names]
        assert not missing, f"run '{run.name}' waits for {missing}, which nothing does before it"
        try:
            run.configure()
        except InputError as error:
            raise InputError(f"run '{run.name}': {error}") from error
        folder = run.folder().resolve()
        if folder in folders:
            raise InputError(f"the runs '{folders[folder]}' and '{run.name}' have one folder, '{folder}'")
        names.add(run.name)
        folders[folder] = run.name
