"""Reads TABLE.yaml, and names what is wrong with it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pointrecon.tools.sweeps.plan import RESULT
from pointrecon.tools.sweeps.table import Downstream, Pretrain, Row, Table
from pointrecon.utils.errors import InputError, closest
from pointrecon.utils.files.io import check_file
from pointrecon.utils.yaml_text import YAML_ERRORS, parse

MAX_BYTES = 1 << 18
KEYS = ("rows", "downstream", "pretrain", "out", "report", "overrides", "reference")


def read_table(path: str | Path, out: Path | None = None, overrides: Sequence[str] = ()) -> Table:
    """Reads a TABLE.yaml.

    Args:
        path: The file.
        out: Folder of the run folders and of the result tables; None: as the table says, else experiments/<name of the
            file>.
        overrides: key=value for all runs; they win over the table's own.

    Raises:
        InputError: A missing or broken file, an unknown key or a value of the wrong kind.
    """
    path = check_file(path, "table")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise InputError(f"'{path}' has {size:,} bytes, but tables have {MAX_BYTES:,} at most; is it one?")
    try:
        tree = parse(path.read_text(encoding="utf-8-sig"))
    except YAML_ERRORS as error:
        raise InputError(f"'{path}' is not valid YAML: {' '.join(str(error).split())}") from error
    reader = _Reader(path)
    content = reader.mapping(tree, "the table", KEYS)
    default = reader.pretrain(content["pretrain"], "pretrain") if content.get("pretrain") else None
    rows = tuple(reader.row(item, default) for item in reader.items(content.get("rows"), "rows"))
    tasks = tuple(reader.downstream(item) for item in reader.items(content.get("downstream"), "downstream"))
    reader.distinct([row.name for row in rows], "rows")
    reader.distinct([task.name for task in tasks], "downstream")
    reader.distinct([metric for task in tasks for metric in task.metrics], "metrics")
    reader.known([kind for row in rows if (kind := row.baseline)], [kind for task in tasks for kind in task.baselines])
    reader.known([name for row in rows for name in row.skip], [task.name for task in tasks])
    reference = content.get("reference", rows[0].name)
    if reference not in [row.name for row in rows]:
        raise InputError(f"'{path}': reference is '{reference}', but must be one of the rows")
    pairs = tuple((row.name, reference) for row in rows if row.name != reference)
    shared = reader.texts(content.get("overrides"), "overrides")
    place = out or Path(reader.text(content.get("out"), "out") or f"experiments/{path.stem}")
    report = reader.text(content.get("report"), "report") if out is None else None
    return Table(path.stem, rows, tasks, place, shared, pairs, "", tuple(overrides), Path(report) if report else None)


class _Reader:
    """Turns what YAML holds into the parts of a table, and names what is wrong."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mapping(self, value: Any, where: str, keys: Sequence[str]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise InputError(f"'{self.path}': {where} is {value!r}, but must have the keys {', '.join(keys)}")
        for key in value:
            if key not in keys:
                match = closest(str(key), keys)
                hint = f"did you mean '{match}'?" if match else f"allowed: {', '.join(keys)}"
                raise InputError(f"'{self.path}': {where} has the unknown key '{key}'; {hint}")
        return value

    def items(self, value: Any, where: str) -> list[Any]:
        if not isinstance(value, list) or not value:
            raise InputError(f"'{self.path}': {where} must be a list with one entry at least")
        return value

    def text(self, value: Any, where: str) -> str | None:
        if value is not None and (not isinstance(value, str) or not value or "\0" in value):
            raise InputError(f"'{self.path}': {where} is {value!r}, but must be a text")
        return value

    def texts(self, value: Any, where: str) -> tuple[str, ...]:
        found = [] if value is None else value
        if not isinstance(found, list) or not all(isinstance(item, str) and "=" in item for item in found):
            raise InputError(f"'{self.path}': {where} is {value!r}, but must be a list of texts key=value")
        return tuple(found)

    def numbers(self, value: Any, where: str, default: tuple[int, ...]) -> tuple[int, ...]:
        if value is None:
            return default
        is_sound = isinstance(value, list) and value and all(type(item) is int and item >= 0 for item in value)
        if not is_sound or len(set(value)) < len(value):
            raise InputError(f"'{self.path}': {where} is {value!r}, but must be a list of different whole numbers")
        return tuple(value)

    def name(self, value: Any, where: str) -> str:
        if not isinstance(value, str) or not value or not all(letter.isalnum() or letter in "_-." for letter in value):
            raise InputError(f"'{self.path}': {where} has the name {value!r}, but names have letters, digits, _ and -")
        return value

    def config(self, value: Any, where: str) -> str:
        if not isinstance(value, str):
            raise InputError(f"'{self.path}': {where} lacks a config; give the path of one, from the table's folder")
        return str(check_file((self.path.parent / value).resolve(), f"config of {where}"))

    def distinct(self, names: Sequence[str], where: str) -> None:
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"'{self.path}': {where} has '{twice}' twice; give each a name of its own")

    def known(self, names: Sequence[str], allowed: Sequence[str]) -> None:
        unknown = next((name for name in names if name not in allowed), None)
        if unknown is not None:
            raise InputError(f"'{self.path}': a row names '{unknown}', but downstream has: {', '.join(allowed)}")

    def pretrain(self, value: Any, where: str, default: Pretrain | None = None) -> Pretrain:
        content = self.mapping(value, where, ("config", "seeds", "overrides", "per_fold"))
        config = default.config if default and "config" not in content else self.config(content.get("config"), where)
        base = default or Pretrain(config)
        per_fold = content.get("per_fold", base.per_fold)
        if not isinstance(per_fold, bool):
            raise InputError(f"'{self.path}': {where}.per_fold is {per_fold!r}, but must be true or false")
        overrides = (*base.overrides, *self.texts(content.get("overrides"), f"{where}.overrides"))
        return Pretrain(config, self.numbers(content.get("seeds"), f"{where}.seeds", base.seeds), overrides, per_fold)

    def row(self, value: Any, default: Pretrain | None) -> Row:
        content = self.mapping(value, "a row", [item.name for item in dataclasses.fields(Row)])
        name = self.name(content.get("name"), "a row")
        where = f"row '{name}'"
        starts = [key for key in ("baseline", "checkpoint", "pretrain") if content.get(key) is not None]
        if len(starts) > 1:
            raise InputError(f"'{self.path}': {where} has both {starts[0]} and {starts[1]}; give one of them")
        plan = default
        if content.get("pretrain") is not None:
            plan = self.pretrain(content["pretrain"], f"{where}, pretrain", default)
        is_pretrained = not content.get("baseline") and not content.get("checkpoint")
        if is_pretrained and plan is None:
            raise InputError(f"'{self.path}': {where} has no pretrain, and the table has none; give a config")
        overrides, shared = (self.texts(content.get(key), f"{where}, {key}") for key in ("overrides", "shared"))
        if overrides and not is_pretrained:
            raise InputError(f"'{self.path}': {where} is not pretrained, so its overrides do nothing; give shared")
        skip = content.get("skip") or []
        if not isinstance(skip, list) or not all(isinstance(item, str) for item in skip):
            raise InputError(f"'{self.path}': {where}, skip is {skip!r}, but must be a list of names of downstream")
        kept = plan if is_pretrained else None
        baseline, checkpoint = (self.text(content.get(key), f"{where}, {key}") for key in ("baseline", "checkpoint"))
        return Row(name, overrides, shared, kept, baseline, checkpoint, tuple(skip))

    def downstream(self, value: Any) -> Downstream:
        content = self.mapping(value, "an entry of downstream", [item.name for item in dataclasses.fields(Downstream)])
        name = self.name(content.get("name"), "an entry of downstream")
        where = f"downstream '{name}'"
        metrics = content.get("metrics", {name: "accuracy"})
        if not isinstance(metrics, dict) or not metrics or not all(isinstance(key, str) for key in metrics.values()):
            raise InputError(f"'{self.path}': {where}, metrics must be a mapping: name in the table: name in {RESULT}")
        baselines = content.get("baselines") or {}
        if not isinstance(baselines, dict):
            raise InputError(f"'{self.path}': {where}, baselines must be a mapping: kind of row: config")
        return Downstream(
            name,
            self.config(content.get("config"), where),
            metrics,
            self.texts(content.get("overrides"), f"{where}, overrides"),
            self.numbers(content.get("folds"), f"{where}, folds", ()),
            self.numbers(content.get("seeds"), f"{where}, seeds", (0,)),
            {kind: self.config(path, f"{where}, baseline '{kind}'") for kind, path in baselines.items()},
        )
