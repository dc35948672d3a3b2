"""The rules that keep the code readable: who imports whom, how long things are, what every folder and every key has."""

import ast
import gc
import re
from pathlib import Path

import pytest
import yaml

from pointrecon.utils.config import flatten, load_config
from tests import ROOT

PACKAGES = ("utils", "extensions", "datasets", "models", "tools")
MAY_IMPORT = {
    "utils": {"utils"},
    "extensions": {"extensions"},
    "datasets": {"datasets", "utils", "extensions"},
    "models": {"models", "utils", "extensions"},
    "tools": set(PACKAGES),
}
MAX_LINES = 350
MAX_STATEMENTS = 50
MAX_FILES = 12
SOURCES = sorted(
    path for folder in (*PACKAGES, "scripts", "tests") for path in (ROOT / folder).rglob("*.py") if path.is_file()
) + [ROOT / "main.py"]
SCHEMA_FILES = sorted((ROOT / "cfgs" / "_base_").glob("*.yaml"))
TABLES = sorted((ROOT / "cfgs" / "ablation").glob("*.yaml"))  # of many runs, for scripts/ablate.py
LEAF_FILES = sorted(path for path in (ROOT / "cfgs").rglob("*.yaml") if path not in (*SCHEMA_FILES, *TABLES))


@pytest.fixture(scope="module")
def trees():
    """Path -> syntax tree of every file; millions of objects, which the collector need not look through."""
    gc.disable()
    yield {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
    gc.enable()


def place(path, node=None):
    return f"{path.relative_to(ROOT)}{f':{node.lineno}' if node is not None else ''}"


def imported_packages(tree):
    """Yields (node, folder) of every import of this project, those inside functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            # `from pointrecon import utils` is an import of utils.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            top, *rest = name.split(".")
            if top == "pointrecon":
                yield node, rest[0] if rest and rest[0] in PACKAGES else "pointrecon"
            elif top in ("main", "scripts", "tests", *PACKAGES):
                yield node, top


def count_statements(function):
    """Counts the statements of a function without those of functions and classes inside it."""
    count, todo = 0, list(function.body)
    while todo:
        node = todo.pop()
        count += isinstance(node, ast.stmt)
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            todo += ast.iter_child_nodes(node)
    return count


def test_imports_point_one_way(trees):
    wrong = [
        f"{place(path, node)} imports {package}"
        for path, tree in trees.items()
        for node, package in imported_packages(tree)
        if package not in MAY_IMPORT.get(path.relative_to(ROOT).parts[0], {*PACKAGES, "pointrecon", "main", "tests"})
        # These stand on the package as its users see it.
        and not {"api", "predict", "report", "analysis"} & set(path.relative_to(ROOT).parts)
    ]
    assert not wrong


def test_nothing_bends_the_import_path():
    wrong = [
        place(path)
        for path in SOURCES
        if path != Path(__file__).resolve()
        and re.search(r"sys\.path\.(insert|append)|noqa: E402", path.read_text(encoding="utf-8"))
    ]
    assert not wrong


def test_rooms_are_small():
    """A reader sees the modules of a folder at one glance."""
    counts: dict[str, int] = {}
    for path in SOURCES:
        folder = str(path.parent.relative_to(ROOT))
        counts[folder] = counts.get(folder, 0) + 1
    assert not {folder: count for folder, count in counts.items() if count > MAX_FILES}


def test_files_are_short():
    files = SOURCES + sorted((ROOT / "scripts").glob("*.sh"))
    lengths = {place(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert not {path: length for path, length in lengths.items() if length > MAX_LINES}


def test_functions_are_short(trees):
    lengths = {
        f"{place(path, node)} {node.name}": count_statements(node)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    assert not {name: length for name, length in lengths.items() if length >= MAX_STATEMENTS}


def test_each_folder_says_what_lives_in_it():
    folders = {path.parent for path in SOURCES if path.relative_to(ROOT).parts[0] != "tests"} - {ROOT}
    missing = [str(folder.relative_to(ROOT)) for folder in folders if not (folder / "README.md").is_file()]
    assert not missing


def test_only_programs_print(trees):
    wrong = [
        place(path, node)
        for path, tree in trees.items()
        if path.relative_to(ROOT).parts[0] in PACKAGES
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not wrong


def test_no_wildcard_import_and_no_bare_except(trees):
    wrong = [
        place(path, node)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names))
        or (isinstance(node, ast.ExceptHandler) and node.type is None)
    ]
    assert not wrong


def test_each_config_key_is_there_once():
    keys = [key for path in SCHEMA_FILES for key in flatten(yaml.safe_load(path.read_text()))]
    assert keys and sorted(keys) == sorted(set(keys))


@pytest.mark.parametrize("path", SCHEMA_FILES, ids=lambda path: path.name)
def test_each_config_key_says_what_it_means(path):
    """A key has a comment on its line or just above; a section of the top level may be explained by the file's head."""
    lines = path.read_text(encoding="utf-8").splitlines()
    bare = [
        f"{path.name}:{number + 1} {line.strip()}"
        for number, line in enumerate(lines)
        if re.match(r"\s*\w+:", line)
        and not re.match(r"\w+:\s*$", line)
        and not re.search(r"\s# \S+", line)
        and not lines[number - 1].lstrip().startswith("#")
    ]
    assert not bare


@pytest.mark.parametrize("path", LEAF_FILES, ids=lambda path: str(path.relative_to(ROOT / "cfgs")))
def test_each_config_is_short_and_loads(path):
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if re.match(r"\s*[\w-]", line)]
    assert 1 <= len(lines) <= 10
    load_config(path)
