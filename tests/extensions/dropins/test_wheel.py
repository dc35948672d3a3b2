"""The wheel in other people's programs: the drop-in packages, and what the package says of itself."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

from pointrecon.extensions import build, ops
from pointrecon.extensions.backends import library
from tests import ROOT

EXTENSIONS = ROOT / "extensions"
HERE = ROOT / "tests" / "extensions" / "dropins"
pytest.importorskip("setuptools", minversion="77", reason="needs setuptools to build the package")

# A program of the family: a package `extensions` of its own, with a wrapper around the compiled module `chamfer`.
THEIR_WRAPPER = """
import chamfer
import torch

class Wrapper(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b):
        p, q, i, j = chamfer.forward(a, b)
        ctx.save_for_backward(a, b, i, j)
        return p, q
    @staticmethod
    def backward(ctx, p, q):
        return chamfer.backward(*ctx.saved_tensors, p, q)
"""
THEIR_PROGRAM = """
import json
import torch
from chamfer_dist import ChamferDistanceL1, ChamferDistanceL2
from extensions.chamfer_dist import Wrapper
from knn_cuda import KNN
from pointnet2_ops import pointnet2_modules, pointnet2_utils

cloud = torch.randn(2, 64, 3, generator=torch.Generator().manual_seed(0))
picked = pointnet2_utils.furthest_point_sample(cloud, 8)
centers = pointnet2_utils.gather_operation(cloud.transpose(1, 2).contiguous(), picked).transpose(1, 2).contiguous()
_, nearest = KNN(k=5, transpose_mode=True)(cloud, centers)
patches = cloud.view(-1, 3)[(nearest + torch.arange(2).view(2, 1, 1) * 64).view(-1)].view(2, 8, 5, 3)
patches = (patches - centers.unsqueeze(2)).flatten(0, 1)
rebuilt = torch.zeros_like(patches).requires_grad_()
p, q = Wrapper.apply(rebuilt, patches)
(p.mean() + q.mean()).backward()
torch.testing.assert_close(p.mean() + q.mean(), ChamferDistanceL2()(rebuilt, patches))
assert rebuilt.grad.abs().sum() > 0 and ChamferDistanceL1()(rebuilt, patches) > 0
assert torch.equal(patches[:, 0], torch.zeros(16, 3))
print(json.dumps({"picked": picked.tolist()}))
"""


def install(folder, **environment):
    """Builds the wheel from a copy, since building leaves files behind, and installs it into a folder."""
    source, site = folder / "source", folder / "site"
    shutil.copytree(EXTENSIONS, source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--no-index"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(site), str(source)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return site


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The wheel installed, with this machine's library instead of the half minute that compiling for all takes."""
    folder = tmp_path_factory.mktemp("wheel")
    site = install(folder, PATH=str(folder), CXX="")
    assert "Tag: py3-none-any" in next(site.glob("*.dist-info/WHEEL")).read_text()
    if library.is_available("cpu"):
        (site / "recon_point_ops" / "csrc" / "build").mkdir()
        shutil.copy(build.library_path(), site / "recon_point_ops" / "csrc" / "build")
    return site


def run(arguments, *folders):
    """Runs Python with folders on its path and returns what it prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout


SLOW, GPU = pytest.param("slow", marks=pytest.mark.slow), pytest.param("gpu", marks=pytest.mark.gpu)


@pytest.mark.parametrize("selected", ["not gpu and not slow", SLOW, GPU])
def test_the_packages_stand_for_the_originals(site, selected):
    """Tests of their own, in a process that has the wheel on its path."""
    files = sorted(HERE.glob("check_*.py"))
    options = ["-c", ".pytest.ini", "--rootdir", ".", "-q", "-p", "no:cacheprovider", "--noconftest", "-m", selected]
    run(["-m", "pytest", *options, *files], site)


@pytest.fixture
def program(tmp_path):
    """Path of a program of the family, in a project of its own."""
    package = tmp_path / "project" / "extensions" / "chamfer_dist"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(THEIR_WRAPPER)
    (package.parent / "__init__.py").touch()
    path = tmp_path / "project" / "main.py"
    path.write_text(THEIR_PROGRAM)
    return path


def test_a_program_with_a_package_extensions_of_its_own(site, program):
    cloud = torch.randn(2, 64, 3, generator=torch.Generator().manual_seed(0))
    assert json.loads(run([program], site)) == {"picked": ops.fps(cloud, 8).tolist()}


def test_two_copies_of_the_operations_in_one_process(site, tmp_path):
    path = tmp_path / "main.py"
    path.write_text(
        "import recon_point_ops, torch\n"
        "from pointrecon.extensions import ops\n"
        "from recon_point_ops import ops as others\n"
        "assert ops.fps is not others.fps\n"
        "x = torch.randn(2, 30, 3)\n"
        "for one in (ops, others):\n"
        "    traced = torch.jit.trace(lambda x: one.patchify(x, 4, 3), x, check_trace=False)\n"
        "    assert torch.equal(traced(x)[2], ops.patchify(x, 4, 3)[2])\n"
        "print(hasattr(torch.ops.recon_point_ops, 'fps'), hasattr(torch.ops.pointrecon_extensions, 'fps'))\n"
    )
    assert run([path], site).split() == ["True", "True"]


def test_everything_is_in_it_and_nothing_else(site):
    assert {path.name for path in site.iterdir() if path.suffix != ".dist-info"} == {
        "recon_point_ops", "pointnet2_ops", "knn_cuda", "chamfer_dist", "chamfer"
    }  # fmt: skip
    package = site / "recon_point_ops"
    wanted = {path.relative_to(EXTENSIONS) for kind in ("py", "cpp", "h") for path in EXTENSIONS.rglob(f"*.{kind}")}
    wanted = {path for path in wanted if path.parts[0] not in ("dropins", "setup.py", "build")}
    assert len(wanted) > 40 and {path for path in wanted if not (package / path).is_file()} == set()
    assert (package / "py.typed").is_file() and not (package / "setup.py").exists()
    (found,) = importlib.metadata.distributions(path=[str(site)])
    assert found.version == run(["-c", "import recon_point_ops as r; print(r.__version__)"], site).strip()
    assert found.metadata["License-Expression"] == "MIT" and "authors" in found.metadata["Author"]
    assert "Typing :: Typed" in found.metadata.get_all("Classifier")
    assert list(site.glob("*.dist-info/licenses/LICENSE"))


@pytest.mark.slow  # compiles for every level
@pytest.mark.skipif(not any(shutil.which(name) for name in build.COMPILERS), reason="there is no C++ compiler")
def test_a_wheel_for_every_python_and_processor(tmp_path):
    site = install(tmp_path)
    tag = next(site.glob("*.dist-info/WHEEL")).read_text().split("Tag: ")[1].split()[0]
    assert tag.startswith("py3-none-") and not tag.endswith("any")
    levels = {path.stem.rpartition("-")[2] for path in (site / "recon_point_ops" / "csrc" / "build").iterdir()}
    assert levels == {level.name for level in build._levels()}
    program = "from recon_point_ops import dispatch; print(repr(dispatch.why_unavailable('compiled', 'cpu')))"
    assert run(["-c", program], site).strip() == "''"


def test_the_op_package_calls_itself_by_no_name():
    # Under the name `recon_point_ops` an import of `extensions` finds another project's package, or nothing.
    files = sorted(EXTENSIONS.rglob("*.py"))
    texts = {path: path.read_text() for path in files if not {"dropins", "build"} & set(path.parts)}
    names = ("extensions", "pointrecon", "recon_point_ops")
    wrong = [
        str(path) for path, text in texts.items() for name in names for word in ("from", "import")
        if f"\n{word} {name}" in text
    ]  # fmt: skip
    assert len(texts) > 40 and not wrong
