"""The rules that keep the code readable: who imports whom, how long things are, what every folder and every key has."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from utils.config import flatten, load_config

ROOT = Path(__file__).resolve().parents[1]
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
SOURCES = sorted(
    path for folder in (*PACKAGES, "scripts", "tests") for path in (ROOT / folder).rglob("*.py") if path.is_file()
) + [ROOT / "main.py"]
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
SCHEMA_FILES = sorted((ROOT / "cfgs" / "_base_").glob("*.yaml"))
LEAF_FILES = sorted(path for path in (ROOT / "cfgs").rglob("*.yaml") if path not in SCHEMA_FILES)


def place(path, node=None):
    return f"{path.relative_to(ROOT)}{f':{node.lineno}' if node is not None else ''}"


def imported_packages(tree):
    """Yields (node, top-level package) of every import, those inside functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node, node.module.split(".")[0]


def count_statements(function):
    """Counts the statements of a function without those of functions and classes inside it."""
    count, todo = 0, list(function.body)
    while todo:
        node = todo.pop()
        count += isinstance(node, ast.stmt)
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            todo += ast.iter_child_nodes(node)
    return count


def test_imports_point_one_way():
    ours = {*PACKAGES, "main", "scripts", "tests"}
    wrong = [
        f"{place(path, node)} imports {package}"
        for path, tree in TREES.items()
        for node, package in imported_packages(tree)
        if (home := path.relative_to(ROOT).parts[0]) in MAY_IMPORT and package in ours - MAY_IMPORT[home]
    ]
    assert not wrong


def test_files_are_short():
    files = SOURCES + sorted((ROOT / "scripts").glob("*.sh"))
    lengths = {place(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert not {path: length for path, length in lengths.items() if length > MAX_LINES}


def test_functions_are_short():
    lengths = {
        f"{place(path, node)} {node.name}": count_statements(node)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    assert not {name: length for name, length in lengths.items() if length >= MAX_STATEMENTS}


@pytest.mark.parametrize("folder", [*PACKAGES, "scripts", "cfgs"])
def test_each_folder_says_what_lives_in_it(folder):
    if not any((ROOT / folder).glob("*.*")):
        pytest.skip(f"there is no {folder}/")
    assert (ROOT / folder / "README.md").is_file()


def test_only_programs_print():
    wrong = [
        place(path, node)
        for path, tree in TREES.items()
        if path.relative_to(ROOT).parts[0] in PACKAGES
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not wrong


def test_no_wildcard_import_and_no_bare_except():
    wrong = [
        place(path, node)
        for path, tree in TREES.items()
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
