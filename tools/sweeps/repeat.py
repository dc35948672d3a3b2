"""One config over several seeds or folds: runs main.py for each and says mean, standard deviation and each value."""

import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import read_json, write_json

MAIN = Path(__file__).resolve().parents[2] / "main.py"
# Numbers of result.json that say how a run went, not how good it is.
NOT_METRICS = ("seed", "epoch", "seconds", "num_objects", "num_classes", "num_votes", "num_train_objects")


@dataclass(frozen=True)
class Repeat:
    """One of the runs.

    Attributes:
        name: last part of its run folder.
        flags: what it has beyond the arguments that all runs share.
    """

    name: str
    flags: tuple[str, ...]


def plan(exp_name: str, seeds: Sequence[int] | None, num_folds: int | None) -> list[Repeat]:
    """The runs: every seed, every fold, or every fold with every seed.

    Args:
        exp_name: first part of the names of their run folders.
        seeds: None: the config's own.
        num_folds: None: the config's own fold.

    Raises:
        InputError: nothing is repeated, or a seed is given twice.
    """
    if seeds is None and num_folds is None:
        raise InputError("nothing is repeated; give --seeds 0 1 2, or --folds 10 for few-shot recognition")
    if seeds is not None and len(set(seeds)) < len(seeds):
        raise InputError(f"a seed is given twice: {' '.join(map(str, seeds))}; it would only count double")
    if num_folds is not None and num_folds < 1:
        raise InputError(f"--folds is {num_folds}, but must be at least 1")
    repeats = []
    for seed in seeds if seeds is not None else [None]:
        for fold in range(num_folds) if num_folds is not None else [None]:
            parts = [("seed", seed), ("fold", fold)]
            given = [(key, value) for key, value in parts if value is not None]
            name = "-".join([exp_name, *(f"{key}{value}" for key, value in given)])
            repeats.append(Repeat(name, tuple(text for key, value in given for text in (f"--{key}", str(value)))))
    return repeats


def run_all(
    repeats: Sequence[Repeat],
    folder_of: Callable[[str], Path],
    arguments: Sequence[str],
    num_processes: int = 1,
    overwrite: bool = False,
) -> dict[str, dict[str, Any]]:
    """Runs what is not done yet, one after the other.

    Args:
        repeats: the runs.
        folder_of: name of a run -> its run folder.
        arguments: of main.py, shared by all.
        num_processes: more than one: with torchrun.
        overwrite: do finished runs again.

    Returns:
        What is in each run's result.json, by its name.

    Raises:
        InputError: a run failed; the finished ones are kept, and counted when this is called again.
    """
    results = {}
    for repeat in repeats:
        path = folder_of(repeat.name) / "result.json"
        if overwrite or not path.is_file():
            command = [*_launcher(num_processes), str(MAIN), *arguments, "--exp_name", repeat.name, "--overwrite"]
            code = subprocess.run([*command, *repeat.flags], check=False).returncode
            if code:
                raise InputError(
                    f"run '{repeat.name}' ended with exit code {code}; mend what its last lines say and start this "
                    "command again: finished runs are kept"
                )
        results[repeat.name] = read_json(path)
    return results


def summarize(results: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean, standard deviation (n - 1) and each value of every metric that all runs have.

    Args:
        results: result.json of each run.
    """
    runs = list(results.values())
    names = [
        name
        for name, value in runs[0].items()
        if isinstance(value, float) and name not in NOT_METRICS and not name.startswith("train_")
    ]
    summary = {}
    for name in (name for name in names if all(isinstance(run.get(name), float) for run in runs)):
        values = [run[name] for run in runs]
        deviation = statistics.stdev(values) if len(values) > 1 else None
        summary[name] = {"mean": statistics.mean(values), "std": deviation, "values": values}
    return summary


def write_summary(path: Path, results: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Writes the summary with the runs it is made of, and returns it."""
    summary = summarize(results)
    write_json({"runs": list(results), "metrics": summary}, path)
    return summary


def format_summary(summary: Mapping[str, Mapping[str, Any]]) -> str:
    """One metric a line: mean, standard deviation, each value."""
    lines = []
    for name, numbers in summary.items():
        spread = "" if numbers["std"] is None else f" ± {numbers['std']:.4f}"
        lines.append(f"{name:28} {numbers['mean']:.4f}{spread}   ({'  '.join(f'{v:.4f}' for v in numbers['values'])})")
    return "\n".join(lines)


def _launcher(num_processes: int) -> list[str]:
    if num_processes == 1:
        return [sys.executable]
    return [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={num_processes}"]
