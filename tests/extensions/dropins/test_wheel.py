"""The drop-in packages in other people's programs: with `extensions` on the path, and installed."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXTENSIONS = Path(__file__).resolve().parents[2] / "extensions"

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
import json, sys
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
print(json.dumps({
    "picked": picked.tolist(),
    "copies": sorted(name for name in sys.modules if name.endswith("ops.reference") or name == "extensions.reference"),
}))
"""


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


def run(program, folder):
    """Runs a program with a folder on its path and returns what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def wanted():
    import torch

    from extensions import ops

    cloud = torch.randn(2, 64, 3, generator=torch.Generator().manual_seed(0))
    return {"picked": ops.fps(cloud, 8).tolist(), "copies": ["recon_point_ops.reference"]}


def test_with_the_folder_on_the_path(program, wanted):
    assert run(program, EXTENSIONS) == wanted


@pytest.mark.slow  # builds the package
def test_installed(program, wanted, tmp_path):
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("needs setuptools to build the package")
    source, site = tmp_path / "source", tmp_path / "site"
    # A copy, since building leaves files behind; with a library that is there already it takes no time.
    shutil.copytree(EXTENSIONS, source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--no-index"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(site), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    modules = {path.relative_to(EXTENSIONS) for path in EXTENSIONS.glob("*.py") if path.name != "setup.py"}
    modules |= {
        path.relative_to(EXTENSIONS) for folder in ("triton", "csrc") for path in (EXTENSIONS / folder).glob("*.*")
    }
    assert {path for path in modules if not (site / "recon_point_ops" / path).is_file()} == set()
    assert not (site / "extensions").exists() and not (site / "recon_point_ops" / "setup.py").exists()
    assert run(program, site) == wanted
    if any(shutil.which(compiler) for compiler in ("c++", "g++", "clang++")):
        program.write_text(
            "import json\n"
            "from recon_point_ops import dispatch\n"
            "print(json.dumps(dispatch.why_unavailable('compiled', 'cpu')))\n"
        )
        assert run(program, site) == ""


def test_one_copy_in_a_program_that_has_the_op_package_under_its_other_name(tmp_path):
    program = tmp_path / "main.py"
    program.write_text(
        "import sys\n"
        "import knn_cuda, extensions.chamfer_dist, recon_point_ops\n"
        "from extensions import ops\n"
        "assert recon_point_ops.ops is ops and knn_cuda.ops is ops is extensions.chamfer_dist.ops\n"
        "import triton.language\n"
        "print(sum(name.startswith('recon_point_ops.') for name in sys.modules))\n"
    )
    assert run(program, f"{EXTENSIONS}{os.pathsep}{EXTENSIONS.parent}") == 0


def test_the_op_package_calls_itself_by_no_name():
    # Under the name `recon_point_ops` an import of `extensions` finds another project's package, or nothing.
    files = sorted(EXTENSIONS.rglob("*.py"))
    wrong = [
        str(path)
        for path in files
        if "\nfrom extensions" in (text := path.read_text()) or "\nimport extensions" in text
    ]
    assert files and not wrong
