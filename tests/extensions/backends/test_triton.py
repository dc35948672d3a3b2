"""The Triton backend on a machine without a GPU: the interpreter, the compiler, and when it says that it can run."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from pointrecon.extensions.backends import launch
from pointrecon.extensions.backends import triton as backend
from pointrecon.extensions.chamfer import triton as chamfer
from pointrecon.extensions.fps import triton as fps
from pointrecon.extensions.knn import triton as knn
from pointrecon.extensions.patchify import triton as patchify
from pointrecon.extensions.pooling import triton as pooling
from tests import ROOT

VERSION = tuple(map(int, triton.__version__.split(".")[:2]))
KERNEL_TESTS = ("tests/extensions/backends/test_triton_kernels.py", "tests/extensions/ops/test_definition.py")
pytestmark = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="nothing is compiled then")


def run(arguments, **environment):
    """A Python process in the root folder; its output."""
    finished = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return finished.returncode, finished.stdout


@pytest.mark.parametrize("selected", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_the_kernels_agree_with_the_reference_in_the_interpreter(selected):
    """In a process of its own: the interpreter is chosen when Triton is imported, for good."""
    options = ["-c", ".pytest.ini", "--rootdir", ".", "-q", "-p", "no:cacheprovider", "-m", selected]
    code, output = run(["-m", "pytest", *options, *KERNEL_TESTS], TRITON_INTERPRET="1")
    if code and VERSION < (3, 5) and "only 0-dimensional arrays can be converted" in output:
        pytest.skip("the interpreter of this Triton is older than NumPy 2.4")
    assert code == 0, output[-5000:]


FLOAT, INT8, INT32, INT64 = "*fp32", "*i8", "*i32", "*i64"
SAMPLING = {"points": FLOAT, "picked": INT64, "keys": INT64, "arrivals": INT32}
STEPWISE = {"points": FLOAT, "picked": INT64, "nearest": INT32, "keys_before": INT64, "keys_now": INT64}
PAIRS = {"a": FLOAT, "b": FLOAT}
CHOSEN = {"nearest_b": INT8, "nearest_a": INT8}
# kernel, its pointers, what is fixed when it is compiled; what is in neither is an int32
COMPILED = {
    "resident": (fps.resident_kernel, SAMPLING, {"BLOCK": 1024, "PARTS": 1, "num_warps": 4}),
    "cooperative": (
        fps.resident_kernel,
        SAMPLING,
        {"BLOCK": 1024, "PARTS": 98, "num_warps": 4, "launch_cooperative_grid": True},
    ),
    "many points": (fps.resident_kernel, SAMPLING, {"BLOCK": 8192, "PARTS": 1, "num_warps": 8}),
    "stepwise": (fps.stepwise_kernel, STEPWISE, {"BLOCK": 4096, "PARTS_BLOCK": 32, "num_warps": 8}),
    "knn": (
        knn.knn_kernel,
        {"points": FLOAT, "queries": FLOAT, "index": INT64},
        knn.tile_options(32, 1024),
    ),
    "patches": (
        patchify.patch_kernel,
        {"points": FLOAT, "picked": INT64, "centers": FLOAT, "patches": FLOAT, "index": INT64},
        knn.tile_options(128, 1024),
    ),
    "chamfer": (
        chamfer.forward_kernel,
        PAIRS | {"losses": FLOAT} | CHOSEN,
        {"NORM": 2, "A_BLOCK": 32, "B_BLOCK": 32, "num_warps": 1},
    ),
    "gradient of chamfer": (
        chamfer.backward_kernel,
        PAIRS | CHOSEN | {"scale": FLOAT, "grad_a": FLOAT, "grad_b": FLOAT},
        {"NORM": 2, "A_BLOCK": 64, "B_BLOCK": 64, "num_warps": 2},
    ),
}


def compile_for_hopper(kernel, pointers, fixed, options):
    constants = {name: value for name, value in fixed.items() if name.isupper()}
    flags = {name: value for name, value in fixed.items() if not name.isupper()}
    signature = {name: "constexpr" if name in constants else pointers.get(name, "i32") for name in kernel.arg_names}
    source = ASTSource(kernel, signature, constants)  # by position: the last one has changed its name
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options | flags)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "knn" else pytest.mark.slow) for name in COMPILED]
)
def test_a_kernel_compiles_for_hopper_without_fused_multiply_add(name):
    """Where a product and a sum are rounded together, two neighbours at nearly the same distance change places."""
    machine_code = compile_for_hopper(*COMPILED[name], launch.EXACT).asm["sass"]
    assert "FMUL" in machine_code
    assert "FFMA" not in machine_code
    assert not re.search(r"\b(LDL|STL)\b", machine_code), "registers are spilled"


@pytest.mark.slow
def test_pooling_compiles_for_hopper():
    pointers = {"x": "*bf16", "values": "*bf16", "index": "*u8"}
    machine_code = compile_for_hopper(pooling.pool_kernel, pointers, {"BLOCK": 512, "num_warps": 2}, launch.EXACT)
    assert not re.search(r"\b(LDL|STL)\b", machine_code.asm["sass"]), "registers are spilled"


def test_fused_multiply_add_is_what_the_option_prevents():
    assert "FFMA" in compile_for_hopper(*COMPILED["knn"], launch.EXACT | {"enable_fp_fusion": True}).asm["sass"]


class TestAvailability:
    @pytest.fixture(autouse=True)
    def fresh(self):
        launch.unavailable_reason.cache_clear()
        yield
        launch.unavailable_reason.cache_clear()

    def test_it_runs_on_no_cpu_and_no_other_device(self):
        assert not backend.is_available("cpu")
        assert not backend.is_available("mps")
        assert backend.unavailable_reason("mps") == "there are no kernels for mps"

    def test_it_runs_on_cuda_if_torch_and_triton_do(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert backend.unavailable_reason("cuda") == "torch sees no GPU"
        launch.unavailable_reason.cache_clear()
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.version, "hip", None)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
        driver = SimpleNamespace(get_current_target=lambda: GPUTarget("cuda", 90, 32))
        monkeypatch.setattr(triton.runtime, "driver", SimpleNamespace(active=driver))
        assert backend.is_available("cuda")

    @pytest.mark.parametrize("capability, reason", [((6, 1), "compute capability"), ((9, 0), "no C compiler")])
    def test_it_says_why_it_cannot_run(self, monkeypatch, capability, reason):
        def fail():
            raise RuntimeError("no C compiler")

        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.version, "hip", None)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
        driver = SimpleNamespace(get_current_target=fail)
        monkeypatch.setattr(triton.runtime, "driver", SimpleNamespace(active=driver))
        assert reason in backend.unavailable_reason("cuda")
