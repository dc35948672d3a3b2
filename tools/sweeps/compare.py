"""What pretraining is worth: the same probes and fine-tunings on every fold, of several pretrained networks and none.

Each number belongs to a fold and a seed, so networks are compared pair by pair. What is done is kept: started again,
only what is missing is run.
"""

import contextlib
import itertools
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pointrecon.tools import cli
from pointrecon.tools.context import make_context, run_folder
from pointrecon.utils.config import flatten, load_config
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import check_file, read_json
from pointrecon.utils.log import progress_bar
from pointrecon.utils.processes.pool import Failure, TaskPool

RANDOM, SCRATCH = "random", "scratch"
METRICS = ("svm", "svm_5shot", "finetune", "finetune_5shot")
PRELOAD = ("pointrecon.tools.training.runner", "pointrecon.tools.tasks")  # imported once, before children fork
TIME_LIMIT = 3600.0  # seconds for one run
FEW = ("data.shots=5", "epochs=28")  # 5 objects a class make few steps an epoch
QUIET = ("figures=false", "eval_every=1000000")  # the last epoch is always evaluated, and nothing else counts
# Run of a network -> (config, overrides, metrics of it -> their names in result.json).
PROBE = ("svm", QUIET, {"svm": "svm_accuracy", "svm_5shot": "svm_5shot_accuracy"})
TUNED = ("finetune", QUIET, {"finetune": "accuracy"})
TUNED_FEW = ("finetune", (*FEW, *QUIET), {"finetune_5shot": "accuracy"})


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        networks: Name -> checkpoint; `{fold}` and `{seed}` in its path are replaced.
        folds: Of the data set.
        seeds: Of each run: they draw the labelled objects, the order of training and random weights.
        configs: Folder with svm.yaml, finetune.yaml and scratch.yaml.
        overrides: For every run, as on the command line of main.py.
        name: First part of the run folders' names.
    """

    networks: Mapping[str, str]
    folds: Sequence[int]
    seeds: Sequence[int]
    configs: Path
    overrides: Sequence[str] = ()
    name: str = "compare"

    def __post_init__(self) -> None:
        if not self.networks:
            raise InputError("nothing is compared; give at least one --ckpt NAME=PATH")
        taken = sorted({RANDOM, SCRATCH} & set(self.networks))
        if taken:
            raise InputError(f"'{taken[0]}' is the name of the network without pretraining; call yours something else")
        for name, fold, seed in itertools.product(self.networks, self.folds, self.seeds):
            check_file(self.checkpoint(name, fold, seed), f"checkpoint of '{name}'")

    def checkpoint(self, network: str, fold: int, seed: int) -> Path:
        """The file of a network for a fold and a seed."""
        path = self.networks[network]
        return Path(path.replace("{fold}", str(fold)).replace("{seed}", str(seed)))


@dataclass(frozen=True)
class Run:
    """One call of main.py.

    Attributes:
        network: What it starts from.
        cell: Fold and seed.
        metrics: Metric -> its name in result.json.
        arguments: Of main.py.
        result: Where its numbers will be.
    """

    network: str
    cell: tuple[int, int]
    metrics: Mapping[str, str]
    arguments: tuple[str, ...]
    result: Path


def list_runs(plan: Plan, output_root: str) -> list[Run]:
    """Lists all runs of a comparison: short ones first, then seed after seed, so that what is cut short is balanced.

    Args:
        plan: See there.
        output_root: Where the run folders are.
    """
    runs = []
    for kind, overrides, metrics in (PROBE, TUNED_FEW, TUNED):
        plain = RANDOM if kind == PROBE[0] else SCRATCH
        for (seed, fold), network in itertools.product(
            itertools.product(plan.seeds, plan.folds), (plain, *plan.networks)
        ):
            config = plan.configs / f"{SCRATCH if network == SCRATCH else kind}.yaml"
            name = f"{plan.name}-{network}-{next(iter(metrics))}-fold{fold}-seed{seed}"
            flags = ["--config", str(config), "--exp_name", name, "--overwrite", "--seed", str(seed)]
            if network in plan.networks:
                flags += ["--ckpts", str(plan.checkpoint(network, fold, seed))]
            arguments = (*flags, f"data.fold={fold}", *overrides, *plan.overrides)
            place = run_folder(output_root, config, name) / "result.json"
            runs.append(Run(network, (fold, seed), metrics, arguments, place))
    return runs


def run_all(runs: Sequence[Run], jobs: int) -> dict[str, dict[str, dict[str, float]]]:
    """Does what is not done yet.

    Args:
        runs: See `list_runs`.
        jobs: Processes at a time, one thread each.

    Returns:
        Network -> metric -> 'fold F seed S' -> accuracy.

    Raises:
        InputError: A run failed; the finished ones are kept.
    """
    todo = [run.arguments for run in runs if not is_done(run)]
    with TaskPool(run_main, jobs, TIME_LIMIT, preload=PRELOAD) as pool:
        for arguments, result in progress_bar(pool.run(todo), "runs", len(todo)):
            if isinstance(result, Failure):
                raise InputError(f"'main.py {' '.join(arguments)}' ended with: {result.message}")
    return read_numbers(runs)


def read_numbers(runs: Sequence[Run]) -> dict[str, dict[str, dict[str, float]]]:
    """Reads what finished runs came to, as `run_all` returns it."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for run in runs:
        numbers = read_json(run.result)
        for metric, name in run.metrics.items():
            cell = "fold {} seed {}".format(*run.cell)
            found.setdefault(run.network, {}).setdefault(metric, {})[cell] = numbers[name]
    return found


def is_done(run: Run) -> bool:
    """Whether a run has ended, with these settings and from the checkpoint file that is there now."""
    config = run.result.with_name("config.yaml")
    if not (run.result.is_file() and config.is_file()):
        return False
    cfg = _configure(run.arguments)[1]
    if cfg.init and Path(cfg.init).stat().st_mtime > config.stat().st_mtime:
        return False
    return flatten(load_config(config)) == flatten({**cfg, "resume": False})


def run_main(arguments: Sequence[str]) -> None:
    """Does what main.py does with these arguments, in this process and on one thread; its log is in the run folder."""
    import torch

    from pointrecon.tools.tasks import TASKS
    from pointrecon.tools.training import runner

    torch.set_num_threads(1)
    flags, cfg = _configure(arguments)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        with make_context(cfg, flags.config, flags.exp_name, flags.overwrite) as ctx:
            runner.run(TASKS.get(cfg.task)(cfg, ctx), cfg, ctx)


def _configure(arguments: Sequence[str]) -> tuple[Any, Any]:
    """Returns the flags and the config that a command line stands for."""
    flags = cli.parse(list(arguments))
    cfg = load_config(flags.config, cli.to_overrides(flags))
    cli.check(flags, cfg)
    return flags, cfg


def compare(numbers: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[dict[str, Any]]:
    """Compares every two networks that have a metric in common, by a paired t-test over the folds.

    The seeds of a fold share their test objects, so they are averaged first: what is left are as many independent
    pairs as folds. (Training sets overlap between folds, as in every cross-validation, which makes p somewhat too
    small.)

    Args:
        numbers: As `run_all` gives them.

    Returns:
        For each pair and metric `network`, `against`, `metric`, `gain` (mean difference), `wins` and `pairs`
        (over folds and seeds), `folds` and `p` (two-sided; None with fewer than two folds).
    """
    order = [*(name for name in numbers if name not in (RANDOM, SCRATCH)), SCRATCH, RANDOM]
    found = []
    for metric in METRICS:
        names = [name for name in order if metric in numbers.get(name, {})]
        for one, other in itertools.combinations(names, 2):
            a, b = numbers[one][metric], numbers[other][metric]
            cells = sorted(set(a) & set(b))
            differences = [a[cell] - b[cell] for cell in cells]
            by_fold: dict[str, list[float]] = {}
            for cell, difference in zip(cells, differences, strict=True):
                by_fold.setdefault(cell.partition(" seed")[0], []).append(difference)
            means = [statistics.mean(values) for values in by_fold.values()]
            found.append(
                {
                    "metric": metric,
                    "network": one,
                    "against": other,
                    "gain": statistics.mean(means),
                    "wins": sum(difference > 0 for difference in differences),
                    "pairs": len(cells),
                    "folds": len(means),
                    "p": paired_p(means),
                }
            )
    return found


def paired_p(differences: Sequence[float]) -> float | None:
    """Two-sided p of a paired t-test against a mean difference of 0; None if it cannot be said."""
    from scipy.stats import ttest_1samp

    if len(differences) < 2 or len(set(differences)) == 1:
        return None
    return float(ttest_1samp(differences, 0.0).pvalue)


def format_tables(numbers: Mapping[str, Mapping[str, Mapping[str, float]]], comparisons: Sequence[Mapping]) -> str:
    """Writes accuracies (mean, and standard deviation over folds and seeds) and comparisons as Markdown tables."""
    lines = [f"| network | {' | '.join(METRICS)} |", "| --- " * (len(METRICS) + 1) + "|"]
    for name, metrics in numbers.items():
        cells = [_cell(list(metrics[metric].values())) if metric in metrics else "" for metric in METRICS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "| metric | compared | points | won | p |", "| --- | --- | --- | --- | --- |"]
    for row in comparisons:
        p = "-" if row["p"] is None else f"{row['p']:.2g}"
        pair = f"{row['network']} - {row['against']}"
        lines.append(f"| {row['metric']} | {pair} | {100 * row['gain']:+.1f} | {row['wins']} of {row['pairs']} | {p} |")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"
