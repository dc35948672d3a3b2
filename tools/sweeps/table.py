"""A table of runs, TABLE.yaml: rows x pretraining seeds x downstream tasks x folds x fine-tuning seeds.

The format is explained in cfgs/ablation/README.md.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pointrecon.tools.context import run_folder
from pointrecon.tools.sweeps import fingerprint
from pointrecon.tools.sweeps.plan import CHECKPOINT, RESULT, Run, forget_configs
from pointrecon.tools.sweeps.summary import Record, is_share
from pointrecon.utils.config import load_config
from pointrecon.utils.errors import InputError, closest
from pointrecon.utils.files.io import check_file, read_json

SEED_STEP = 1000  # the seed of a run is the fine-tuning seed plus this times the number of the pretraining
RANDOM, SCRATCH = "random", "scratch"
FEW = ("data.shots=5", "epochs=28")  # 5 objects a class make few steps an epoch
QUIET = ("figures=false", "eval_every=1000000")  # the last epoch is always evaluated, and nothing else counts


@dataclass(frozen=True)
class Pretrain:
    """How rows are pretrained.

    Attributes:
        config: The YAML file.
        seeds: One pretraining each.
        overrides: key=value.
        per_fold: One pretraining for each fold too, on what the fold does not test (data.fold=F).
    """

    config: str
    seeds: tuple[int, ...] = (0,)
    overrides: tuple[str, ...] = ()
    per_fold: bool = False


@dataclass(frozen=True)
class Downstream:
    """What is measured on a pretrained network.

    Attributes:
        name: How the table calls it.
        config: The YAML file.
        metrics: Name in the table -> name in result.json.
        overrides: key=value.
        folds: Of its data set; empty: its config's own.
        seeds: Of its runs.
        baselines: Name of a kind of row without pretraining -> the YAML file that measures it.
    """

    name: str
    config: str
    metrics: Mapping[str, str]
    overrides: tuple[str, ...] = ()
    folds: tuple[int, ...] = ()
    seeds: tuple[int, ...] = (0,)
    baselines: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A row of the table; it is pretrained unless it has a baseline or a checkpoint.

    Attributes:
        name: How the table calls it.
        overrides: key=value for its pretraining.
        shared: key=value for its pretraining and all that is measured on it, such as sizes of the network.
        pretrain: None: as the table says.
        baseline: Kind of row without pretraining; it is measured where a downstream task names a config for it.
        checkpoint: Path of a pretrained network; {fold} and {seed} are replaced.
        skip: Downstream tasks that cannot be measured on it.
    """

    name: str
    overrides: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    pretrain: Pretrain | None = None
    baseline: str | None = None
    checkpoint: str | None = None
    skip: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """The whole table.

    Attributes:
        name: First part of the names of its run folders' root.
        rows: In their order.
        downstream: What is measured on each.
        out: Folder of the run folders.
        overrides: key=value for all runs.
        compare: Pairs of rows (row, against).
        prefix: First part of the run folders' names.
        last: key=value for all runs, which win over all others.
        report: Folder of the result tables; None: `out`. Tables that share runs have one `out`, and each a `report`.
    """

    name: str
    rows: tuple[Row, ...]
    downstream: tuple[Downstream, ...]
    out: Path
    overrides: tuple[str, ...] = ()
    compare: tuple[tuple[str, str], ...] = ()
    prefix: str = ""
    last: tuple[str, ...] = ()
    report: Path | None = None


@dataclass(frozen=True)
class Cell:
    """A run of the table, and where its numbers belong.

    Attributes:
        run: The run.
        row: Its row.
        metrics: Name in the table -> name in result.json; empty for a pretraining.
        pretraining: Number of the pretraining, None without.
        fold: None without.
        seed: Of the run.
    """

    run: Run
    row: str
    metrics: Mapping[str, str]
    pretraining: int | None
    fold: int | None
    seed: int


def compare_networks(
    networks: Mapping[str, str],
    *,
    folds: Sequence[int],
    seeds: Sequence[int],
    configs: Path,
    overrides: Sequence[str] = (),
    name: str = "compare",
) -> Table:
    """The table of what pretraining is worth: finished networks against random weights, from scratch and one another.

    Args:
        networks: Name -> checkpoint; `{fold}` and `{seed}` in its path are replaced.
        folds: Of the data set.
        seeds: Of each run: they draw the labelled objects, the order of training and random weights.
        configs: Folder with svm.yaml, finetune.yaml and scratch.yaml.
        overrides: For every run, as on the command line of main.py.
        name: First part of the run folders' names.

    Raises:
        InputError: Nothing is compared, or a name is taken.
    """
    if not networks:
        raise InputError("nothing is compared; give at least one --ckpt NAME=PATH")
    taken = sorted({RANDOM, SCRATCH} & set(networks))
    if taken:
        raise InputError(f"'{taken[0]}' is the name of the network without pretraining; call yours something else")
    paths = {stem: str(check_file(configs / f"{stem}.yaml", "config")) for stem in ("svm", "finetune", SCRATCH)}
    places = {"folds": tuple(folds), "seeds": tuple(seeds)}
    probe, tuned = {RANDOM: paths["svm"]}, {SCRATCH: paths[SCRATCH]}
    metrics = {"svm": "svm_accuracy", "svm_5shot": "svm_5shot_accuracy"}
    tasks = (
        Downstream("svm", paths["svm"], metrics, QUIET, **places, baselines=probe),
        Downstream("finetune_5shot", paths["finetune"], {"finetune_5shot": "accuracy"}, (*FEW, *QUIET), **places,
                   baselines=tuned),
        Downstream("finetune", paths["finetune"], {"finetune": "accuracy"}, QUIET, **places, baselines=tuned),
    )  # fmt: skip
    rows = [Row(key, checkpoint=path) for key, path in networks.items()]
    rows += [Row(key, baseline=key) for key in (SCRATCH, RANDOM)]
    pairs = tuple(itertools.combinations([row.name for row in rows], 2))
    out = Path(load_config(paths["svm"], overrides).output_root)
    return Table(name, tuple(rows), tasks, out, (), pairs, name, tuple(overrides))


def expand(table: Table, only: Sequence[str] = ()) -> list[Cell]:
    """Lists all runs of a table: pretrainings first seed after seed, then what is measured, so that a part is balanced.

    Args:
        table: The table.
        only: Names of rows; empty: all.

    Raises:
        InputError: A row that is not there.
    """
    names = [row.name for row in table.rows]
    for name in only:
        if name not in names:
            match = closest(name, names)
            raise InputError(
                f"--only names '{name}', but the table has {', '.join(names)}"
                + (f"; did you mean '{match}'?" if match else "")
            )
    rows = [row for row in table.rows if not only or row.name in only]
    cells = [cell for row in rows for cell in _pretrainings(table, row)]
    runs = {cell.run.name: cell.run for cell in cells}
    cells += [cell for row in rows for task in table.downstream for cell in _measurements(table, row, task, runs)]
    order = {row.name: number for number, row in enumerate(rows)}
    # Seed after seed and fold after fold, all rows side by side: what is cut short is a smaller table, not half of one.
    return sorted(cells, key=lambda cell: (bool(cell.metrics), cell.pretraining or 0, cell.seed, cell.fold or 0,
                                           order[cell.row]))  # fmt: skip


def _pretrainings(table: Table, row: Row) -> Iterable[Cell]:
    plan = row.pretrain
    if plan is None or row.baseline or row.checkpoint:
        return
    folds = sorted({fold for task in table.downstream for fold in task.folds}) if plan.per_fold else [None]
    for seed, fold in itertools.product(plan.seeds, folds):
        overrides = [*table.overrides, *plan.overrides, *row.shared, *row.overrides]
        overrides += [] if fold is None else [f"data.fold={fold}"]
        name = _name(table, row.name, "pretrain", seed, fold)
        arguments = ("--seed", str(seed), *overrides, *table.last, f"output_root={table.out}")
        yield Cell(Run(name, plan.config, name, arguments, outputs=(CHECKPOINT,)), row.name, {}, seed, fold, seed)


def _measurements(table: Table, row: Row, task: Downstream, runs: Mapping[str, Run]) -> Iterable[Cell]:
    config = task.baselines.get(row.baseline) if row.baseline else task.config
    if config is None or task.name in row.skip:
        return
    for pretraining, fold, seed in itertools.product(_units(table, row, task), task.folds or (None,), task.seeds):
        if row.checkpoint and "{seed}" in row.checkpoint and pretraining != seed:
            continue
        number = seed if row.checkpoint or pretraining is None else seed + SEED_STEP * pretraining
        arguments = ["--seed", str(number)]
        after: tuple[str, ...] = ()
        if row.checkpoint:
            path = row.checkpoint.replace("{fold}", str(fold)).replace("{seed}", str(seed))
            arguments += ["--ckpts", str(check_file(path, f"checkpoint of '{row.name}'"))]
        elif not row.baseline and row.pretrain is not None:
            name = _name(table, row.name, "pretrain", pretraining, fold if row.pretrain.per_fold else None)
            after = (name,)
            start = run_folder(table.out, row.pretrain.config, runs[name].exp_name) / CHECKPOINT
            arguments += ["--ckpts", str(start)]
        arguments += [*table.overrides, *task.overrides, *row.shared, *table.last, f"output_root={table.out}"]
        arguments += [] if fold is None else [f"data.fold={fold}"]
        name = _name(table, row.name, task.name, pretraining, fold, seed)
        yield Cell(Run(name, config, name, tuple(arguments), after), row.name, task.metrics, pretraining, fold, number)


def _units(table: Table, row: Row, task: Downstream) -> Sequence[int | None]:
    """The pretrainings of a row; a baseline has as many, of which nothing but the seeds differ."""
    if row.checkpoint:
        return task.seeds if "{seed}" in row.checkpoint else [None]
    if row.baseline:
        return next((other.pretrain.seeds for other in table.rows if other.pretrain and not other.baseline), [None])
    return row.pretrain.seeds if row.pretrain is not None else [None]


def _name(table: Table, row: str, task: str, pretraining: int | None, fold: int | None, seed: int | None = None) -> str:
    parts = [("p", pretraining), ("fold", fold), ("seed", seed)]
    given = [f"{key}{value}" for key, value in parts if value is not None]
    return "-".join([*([table.prefix] if table.prefix else []), row, task, *given])


def collect(
    cells: Sequence[Cell], any_code: bool = False
) -> tuple[list[Record], dict[str, dict[str, float]], dict[str, int]]:
    """Reads the numbers of all runs that are done, and of no others.

    Returns:
        The records, row -> mean cost of a pretraining (`seconds`, `parameters`; without one neither) and of a run that
        measures (`measuring`, in seconds), and row -> number of missing runs.

    Raises:
        InputError: A result lacks a metric of the table.
    """
    forget_configs()
    records: list[Record] = []
    costs: dict[str, dict[str, list[float]]] = {}
    missing: dict[str, int] = {}
    for cell in cells:
        folder = cell.run.folder()
        try:
            is_done = fingerprint.why_not_done(cell.run, folder, fingerprint.inputs_of(cell.run), any_code) is None
        except InputError:
            is_done = False
        if not is_done:
            missing[cell.row] = missing.get(cell.row, 0) + 1
            continue
        result = read_json(folder / RESULT)
        cost = {"measuring" if cell.metrics else "seconds": result.get("seconds", 0.0)}
        cost |= {} if cell.metrics else (fingerprint.read_record(folder) or {}).get("facts", {})
        for key, value in cost.items():
            costs.setdefault(cell.row, {}).setdefault(key, []).append(value)
        for metric, key in cell.metrics.items():
            if not isinstance(result.get(key), (int, float)):
                numbers = ", ".join(name for name, value in result.items() if isinstance(value, float))
                raise InputError(f"'{folder / RESULT}' has no number '{key}'; it has: {numbers}")
            place = (cell.row, metric, cell.pretraining, cell.fold, cell.seed)
            records.append(Record(*place, float(result[key]), cell.run.name, is_share(key)))
    means = {row: {key: sum(values) / len(values) for key, values in found.items()} for row, found in costs.items()}
    return records, means, missing
