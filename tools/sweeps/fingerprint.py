"""What a finished run was made from, stored beside its result: a run counts as done for the same inputs and no others.

`fingerprint.json` holds the resolved config, digests of the checkpoint that the run started from, of the files of its
data sets and of the code, and, once the run has ended, digests of what it wrote.
"""

import ast
import functools
import hashlib
import time
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pointrecon.datasets import DATASETS
from pointrecon.tools.environment import describe_versions
from pointrecon.tools.settings import Settings
from pointrecon.tools.sweeps.plan import CHECKPOINT, RESULT, Run
from pointrecon.utils.config import SCHEMA_FOLDER, flatten, merge
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import read_json, write_json

NAME = "fingerprint.json"
STARTED, DONE = "started", "done"
# Keys that say where things are, not what is done; what lies there is compared by its content.
PLACES = ("output_root", "data_root", "init", "resume", "resume_changed")
PACKAGE = Path(__file__).resolve().parents[2]
ROOMS = ("utils", "extensions", "datasets", "models", "tools")
# Code that no number of a run passes through.
ASIDE = ("tools/sweeps", "tools/visualize", "tools/debshapes", "tools/api", "datasets/meshes", "extensions/dropins")
SUFFIXES = (".py", ".cpp", ".h", ".cu")
NO_DATA = (".md", ".tmp", ".lock")
MANY = 64  # files in a folder; beyond, their sizes and times stand for their content


def inputs_of(run: Run, code: str | None = None) -> dict[str, Any]:
    """Everything that the numbers of a run depend on, as it is now.

    Args:
        run: The run.
        code: Digest of the code that does it; None: of the files as they are.

    Raises:
        InputError: The config is not right, or the checkpoint is not there.
    """
    cfg = run.configure()
    config = {key: value for key, value in flatten(cfg).items() if key not in PLACES}
    return {
        "config": config,
        "config_digest": hashlib.sha256(repr(sorted(config.items())).encode()).hexdigest(),
        "processes": run.num_processes,
        "checkpoint": None if cfg.init is None else file_digest(cfg.init),
        "data": data_digests(cfg),
        "code": code or code_digest(),
    }


def read_record(folder: Path) -> dict[str, Any] | None:
    """The fingerprint in a run folder; None if there is none that can be read."""
    try:
        record = read_json(folder / NAME)
    except InputError:
        return None
    inputs = record.get("inputs") if isinstance(record, dict) else None
    is_sound = isinstance(inputs, dict) and all(isinstance(inputs.get(key), dict) for key in ("config", "data"))
    return record if is_sound else None


def write_started(folder: Path, inputs: Mapping[str, Any]) -> None:
    """Notes what a run begins with, after what an earlier one has left there is gone."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (NAME, RESULT, CHECKPOINT):
        (folder / name).unlink(missing_ok=True)
    versions = {**describe_versions(), "started": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    write_json({"state": STARTED, "inputs": inputs, "versions": versions}, folder / NAME)


def write_done(run: Run, folder: Path, inputs: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Notes that a run has ended well, and what it wrote.

    Args:
        run: The run.
        folder: Its folder.
        inputs: What it began with.
        facts: What else is worth keeping, such as the number of parameters.
    """
    record = read_record(folder) or {"inputs": dict(inputs)}
    outputs = {name: file_digest(folder / name) for name in (RESULT, *run.outputs)}
    write_json({**record, "state": DONE, "outputs": outputs, "facts": dict(facts)}, folder / NAME)


def why_not_done(run: Run, folder: Path, inputs: Mapping[str, Any], any_code: bool = False) -> str | None:
    """Says why a run has to be done; None if it has been done with these very inputs and its files are as it left them.

    Args:
        run: The run.
        folder: Its folder.
        inputs: What it would start with, see `inputs_of`.
        any_code: Accept what another version of the code has computed.
    """
    if not (folder / RESULT).is_file():
        return "not done yet"
    record = read_record(folder)
    if record is None:
        return f"'{RESULT}' is there, but not what it was made from"
    if record.get("state") != DONE:
        return "begun, not ended"
    found = differences(record["inputs"], inputs, any_code)
    if found:
        return "done with other inputs: " + "; ".join(found[:3]) + (f"; and {len(found) - 3} more" * (len(found) > 3))
    outputs = record.get("outputs")
    for name in (RESULT, *run.outputs):
        wanted = outputs.get(name) if isinstance(outputs, dict) else None
        if not (folder / name).is_file():
            return f"'{name}' is gone"
        if file_digest(folder / name) != wanted:
            return f"'{name}' was changed after the run"
    return None


def can_resume(folder: Path, inputs: Mapping[str, Any]) -> bool:
    """Whether a run was begun with these very inputs and has left a checkpoint to go on from."""
    record = read_record(folder)
    is_same = record is not None and record.get("state") == STARTED and not differences(record["inputs"], inputs)
    return is_same and (folder / CHECKPOINT).is_file() and not (folder / RESULT).exists()


def differences(old: Mapping[str, Any], new: Mapping[str, Any], any_code: bool = False) -> list[str]:
    """Names what differs between the inputs of a finished run and those of one that is wanted.

    A data file that was not there yet counts for nothing. With `any_code`, a key of the config that the older code did
    not know is taken at its default.
    """
    found = []
    before, now = old["config"], new["config"]
    known = _defaults() if any_code else {}
    for key in sorted({*before, *now}):
        a, b = (side.get(key, known.get(key, "not there")) for side in (before, now))
        if a != b:
            found.append(f"{key} was {a}, is {b}")
    if old.get("processes", 1) != new["processes"]:
        found.append(f"it ran in {old.get('processes')} processes, not in {new['processes']}")
    if old.get("checkpoint") != new["checkpoint"]:
        found.append("it started from another checkpoint")
    data, data_now = old["data"], new["data"]
    found += [f"data file '{name}' is another one or gone" for name in data if data[name] != data_now.get(name)]
    if not any_code and old.get("code") != new["code"]:
        found.append("the code was another version")
    return found


def data_digests(cfg: Settings) -> dict[str, str]:
    """Digests of the files of every data set that a config names, and of the feature files of its teachers."""
    found: dict[str, str] = {}
    for place in _data_places(cfg):
        if place.is_file():
            found[place.name] = file_digest(place)
        elif place.is_dir():
            found |= _folder_digests(place)
    return found


def _data_places(cfg: Settings) -> list[Path]:
    """Files and folders that a config reads data from, each once."""
    root = Path(cfg["data"].get("root") or cfg["data_root"])
    places: list[Path] = []
    for section in _sections(cfg):
        name = section.get("type")
        if isinstance(name, str) and (name == cfg["data"]["type"] or name in DATASETS.names()):
            places += _surveyed(name, root.resolve(), root.stat().st_mtime_ns if root.is_dir() else 0)
    for section in (cfg["data"]["options"], *(item for item in (cfg.get("teachers") or {}).values() if item)):
        for value in _texts(section):
            places += [path for path in (Path(value), root / value) if value and path.exists()]
    if cfg["data"].get("root"):
        places.append(root)
    if not places and root.is_dir():
        places = [root]  # a data set that says nothing of its files
    return list(dict.fromkeys(path.resolve() for path in places))


@functools.cache
def _surveyed(name: str, root: Path, changed_ns: int) -> list[Path]:
    """Folders of a data set below `root`, which changed at `changed_ns`: a survey may read all of them."""
    survey = getattr(DATASETS.get(name), "survey", None)
    return [item.folder for item in (survey(str(root)) if survey else ())]


def _sections(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        for item in value.values():
            yield from _sections(item)


def _texts(value: Any) -> Iterator[str]:
    for item in flatten(value).values():
        if isinstance(item, str) and "\0" not in item:
            yield item


def _folder_digests(folder: Path) -> dict[str, str]:
    """Digests of the files below a folder; one for all files of a subfolder that has very many."""
    groups: dict[Path, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith(".") and path.suffix not in NO_DATA:
            groups.setdefault(path.parent, []).append(path)
    found = {}
    for parent, paths in groups.items():
        name = Path(folder.name, parent.relative_to(folder)).as_posix()
        if len(paths) > MANY:
            facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
            found[f"{name}/*"] = hashlib.sha256(repr(facts).encode()).hexdigest()
        else:
            found |= {f"{name}/{path.name}": file_digest(path) for path in paths}
    return found


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file, computed once for as long as its size and its time stay.

    Raises:
        InputError: There is no such file.
    """
    path = Path(path).resolve()
    try:
        facts = path.stat()
        return _digest(path, facts.st_size, facts.st_mtime_ns, facts.st_ino)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {(error.strerror or str(error)).lower()}") from error


@functools.lru_cache(maxsize=4096)
def _digest(path: Path, *_: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _hash(file)


def _hash(file: Any) -> str:
    """As `hashlib.file_digest`, which Python 3.10 does not have."""
    digest = hashlib.sha256()
    for block in iter(lambda: file.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()


@functools.lru_cache(maxsize=1)
def code_digest() -> str:
    """SHA-256 of the code that a run's numbers pass through, without comments and docstrings, as it was first read."""
    digest = hashlib.sha256()
    for path in _sources():
        text = path.read_text(encoding="utf-8")
        plain = _plain(text) if path.suffix == ".py" else text
        digest.update(f"{path.relative_to(PACKAGE)}\n{plain}\n".encode())
    return digest.hexdigest()


def _sources() -> Iterable[Path]:
    for room in ROOMS:
        for path in sorted((PACKAGE / room).rglob("*")):
            place = path.relative_to(PACKAGE).as_posix()
            if path.suffix in SUFFIXES and not place.startswith(ASIDE) and "/bench" not in place:
                yield path


def _plain(text: str) -> str:
    """What a file of Python does, without comments, docstrings, assertions and its lines."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node, clean=False):
            node.body = node.body[1:] or [ast.copy_location(ast.Pass(), node.body[0])]
    return "\n".join(_code_texts(compile(tree, "", "exec", optimize=2)))


def _code_texts(code: types.CodeType) -> Iterator[str]:
    """The instructions, names and constants of compiled code."""
    yield repr((code.co_name, code.co_code, code.co_names, code.co_varnames, code.co_freevars))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code_texts(constant)
        else:  # the order of a set changes from process to process
            yield repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)


@functools.lru_cache(maxsize=1)
def _defaults() -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path in sorted(SCHEMA_FOLDER.glob("*.yaml")):
        tree = merge(tree, yaml.safe_load(path.read_text(encoding="utf-8")))
    return flatten(tree)
