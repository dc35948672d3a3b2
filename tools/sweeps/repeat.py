"""One config over several seeds or folds: mean, standard deviation, interval and each value of every metric."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pointrecon.tools.sweeps.plan import RESULT, Run
from pointrecon.tools.sweeps.report import format_latex, format_markdown, format_runs, make_report
from pointrecon.tools.sweeps.summary import Record, estimate, is_share
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write, check_file, read_json, write_json

# Numbers of result.json that say how a run went, not how good it is.
NOT_METRICS = ("seed", "epoch", "seconds", "num_objects", "num_classes", "num_votes", "num_train_objects")


def plan(
    config: str,
    exp_name: str,
    arguments: Sequence[str],
    *,
    seeds: Sequence[int] | None = None,
    num_folds: int | None = None,
    num_threads: int = 0,
    num_processes: int = 1,
) -> list[tuple[Run, int | None, int | None]]:
    """The runs, each with its seed and its fold: every seed, every fold, or every fold with every seed.

    Args:
        config: The YAML file.
        exp_name: First part of the names of their run folders.
        arguments: Of main.py, shared by all; `{seed}` and `{fold}` in the path after --ckpts are replaced.
        seeds: None: the config's own.
        num_folds: None: the config's own fold.
        num_threads: See `Run`.
        num_processes: See `Run`.

    Raises:
        InputError: Nothing is repeated, a seed is given twice, or a checkpoint is not there.
    """
    if seeds is None and num_folds is None:
        raise InputError("nothing is repeated; give --seeds 0 1 2, or --folds 10 for few-shot recognition")
    if seeds is not None and len(set(seeds)) < len(seeds):
        raise InputError(f"a seed is given twice: {' '.join(map(str, seeds))}; it would only count double")
    if num_folds is not None and num_folds < 1:
        raise InputError(f"--folds is {num_folds}, but must be at least 1")
    runs = []
    for seed in seeds if seeds is not None else [None]:
        for fold in range(num_folds) if num_folds is not None else [None]:
            parts = {key: value for key, value in (("seed", seed), ("fold", fold)) if value is not None}
            name = "-".join([exp_name, *(f"{key}{value}" for key, value in parts.items())])
            own = [text for key, value in parts.items() for text in (f"--{key}", str(value))]
            words = (*fill_in(arguments, parts), *own)
            runs.append((Run(name, config, name, words, (), (), num_threads, num_processes), seed, fold))
    return runs


def fill_in(arguments: Sequence[str], parts: Mapping[str, int]) -> list[str]:
    """The arguments with `{seed}` and `{fold}` replaced in the paths of checkpoints.

    Raises:
        InputError: One of them is asked for and not repeated over, or the file is not there.
    """
    words = list(arguments)
    for place, word in enumerate(words):
        flag, equals, path = word.partition("=")
        if flag not in ("--ckpts", "--start_ckpts", "init"):
            continue
        if not equals:
            place, path = place + 1, words[place + 1] if place + 1 < len(words) else ""
        for key in ("seed", "fold"):
            if f"{{{key}}}" in path and key not in parts:
                raise InputError(f"{flag} has {{{key}}}, but nothing is repeated over it; give --{key}s")
        filled = path.replace("{seed}", str(parts.get("seed"))).replace("{fold}", str(parts.get("fold")))
        if filled != path:
            check_file(filled, "checkpoint")
        words[place] = f"{flag}={filled}" if equals else filled
    return words


def read_results(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """What is in each run's result.json, by its name."""
    return {run.name: read_json(run.folder() / RESULT) for run in runs}


def summarize(results: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean, standard deviation (n - 1), 95 % interval and each value of every metric that all runs have.

    Args:
        results: result.json of each run.
    """
    summary = {}
    for name in metrics_of(results):
        values = [run[name] for run in results.values()]
        whole = estimate(
            [Record("", name, None, number, 0, value, "", is_share(name)) for number, value in enumerate(values)]
        )
        deviation = statistics.stdev(values) if len(values) > 1 else None
        summary[name] = {"mean": whole.mean, "std": deviation, "n": len(values)}
        summary[name] |= {"low": whole.low, "high": whole.high, "values": values}
    return summary


def metrics_of(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The metrics that all runs have."""
    first = next(iter(results.values()))
    names = [name for name in first if name not in NOT_METRICS and not name.startswith("train_")]
    return [name for name in names if all(isinstance(run.get(name), float) for run in results.values())]


def write_summary(
    path: Path, results: Mapping[str, Mapping[str, Any]], places: Sequence[tuple[int | None, int | None]]
) -> dict[str, dict[str, Any]]:
    """Writes the summary with the runs it is made of as JSON, and beside it as CSV, Markdown and LaTeX.

    Args:
        path: The JSON file.
        results: result.json of each run.
        places: Seed and fold of each run.

    Returns:
        The summary.
    """
    summary = summarize(results)
    write_json({"runs": list(results), "metrics": summary}, path)
    records = [
        Record(path.stem, metric, None, fold, seed, run[metric], name, is_share(metric))
        for (name, run), (given, fold) in zip(results.items(), places, strict=True)
        for seed in [run.get("seed", 0) if given is None else given]
        for metric in summary
    ]
    report = make_report(records, [])
    texts = {".csv": format_runs(report), ".md": format_markdown(report), ".tex": format_latex(report)}
    for suffix, text in texts.items():
        with atomic_write(path.with_suffix(suffix)) as temporary:
            temporary.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    return summary


def format_summary(summary: Mapping[str, Mapping[str, Any]]) -> str:
    """One metric a line: mean, standard deviation, interval, each value."""
    lines = []
    for name, numbers in summary.items():
        spread = "" if numbers["std"] is None else f" ± {numbers['std']:.4f}"
        between = "" if numbers["low"] is None else f", 95 % {numbers['low']:.4f} to {numbers['high']:.4f}"
        values = "  ".join(f"{value:.4f}" for value in numbers["values"])
        lines.append(f"{name:28} {numbers['mean']:.4f}{spread}{between}   ({values})")
    return "\n".join(lines)
