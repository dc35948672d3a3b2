"""The CPU library under AddressSanitizer and UndefinedBehaviorSanitizer: no access outside its tensors."""

import os
import shutil
import subprocess
import sys

import pytest

from pointrecon.extensions import build
from pointrecon.extensions.backends import library as cpu_library
from tests import ROOT

GXX = shutil.which("g++")
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-fno-omit-frame-pointer")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(GXX is None, reason="there is no g++"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the sanitizer is loaded as on Linux"),
]
PROGRAM = """
import ctypes, sys
from pathlib import Path
import torch
from pointrecon.extensions import build
from pointrecon.extensions.fps.compiled import _fps

build.library_path = lambda: Path(sys.argv[1])
from tests.extensions.backends.test_instruction_sets import attention_results, results
from tests.extensions.conftest import CLOUDS

if sys.argv[2] == "outside":  # of 65,536 points, where there are two
    _fps(torch.zeros(2 * 3), 1, 1 << 16, 2, torch.zeros(2, dtype=torch.int64))
draw = torch.Generator().manual_seed(0)
sizes = [(batch, num_points) for batch in (1, 2, 5) for num_points in (*range(1, 40), 63, 64, 65, 257, 1000, 3001)]
clouds = [torch.from_numpy(cloud.copy()) for cloud in CLOUDS.values()]
clouds += [torch.rand(*size, 3, generator=draw) * scale for size in sizes for scale in (1e-20, 1, 1e15)]
for threads in (1, 3):
    torch.set_num_threads(threads)
    print(len(results(clouds)) + len(attention_results()), "results")
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The library with both sanitizers in it."""
    path = tmp_path_factory.mktemp("sanitized") / "point_ops.so"
    sources = [f"-I{build.ROOT}", *(str(source) for source in build.sources())]
    subprocess.run([GXX, *build.FLAGS, "-march=native", *SANITIZE, *sources, "-o", str(path)], check=True)
    return path


def run(library, what):
    """Runs all operations in a process that has the sanitizer's allocator from its start."""
    runtime = [
        subprocess.run([GXX, f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in ("libasan.so", "libubsan.so", "libstdc++.so")
    ]
    environment = {**os.environ, "LD_PRELOAD": ":".join(runtime), "PYTHONPATH": str(ROOT)}
    environment["ASAN_OPTIONS"] = "detect_leaks=0"  # Python's own
    arguments = [sys.executable, "-c", PROGRAM, str(library), what]
    return subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not cpu_library.is_available("cpu"), reason="the CPU library is not built")
def test_the_sanitizers_have_nothing_to_say(library):
    done = run(library, "inside")
    assert done.returncode == 0, done.stderr[-4000:]
    print(done.stdout)
    assert done.stdout.count("results") == 2 and "runtime error" not in done.stderr


def test_they_would_tell(library):
    done = run(library, "outside")
    assert done.returncode != 0 and "AddressSanitizer" in done.stderr
