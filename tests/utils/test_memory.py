"""The switches of the allocators."""

import ctypes
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from utils import memory

ROOT = Path(__file__).parents[2]


def test_it_works_where_the_library_is_glibc():
    assert memory.keep_freed_memory() == (platform.libc_ver()[0] == "glibc")


def test_it_does_nothing_where_there_is_no_mallopt(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert memory.keep_freed_memory() is False


@pytest.mark.parametrize(
    ("modes", "before", "after"),
    [
        ("always [madvise] never", None, "1"),
        ("always [madvise] never", "0", "0"),
        ("[always] madvise never", None, None),
        ("always madvise [never]", None, None),
        (None, None, None),
    ],
)
def test_large_pages_are_asked_for_where_asking_helps(tmp_path, monkeypatch, modes, before, after):
    monkeypatch.setattr(memory, "PAGE_MODE", tmp_path / "enabled")
    if modes is not None:
        (tmp_path / "enabled").write_text(modes)
    environment = {} if before is None else {"THP_MEM_ALLOC_ENABLE": before}
    monkeypatch.setattr(memory.os, "environ", environment)
    assert memory.use_huge_pages() is (after == "1")
    assert environment.get("THP_MEM_ALLOC_ENABLE") == after


def test_tensors_of_a_run_lie_in_large_pages():
    if not (memory.PAGE_MODE.is_file() and "[madvise]" in memory.PAGE_MODE.read_text()):
        pytest.skip("the system gives no large pages to those who ask")
    program = (
        "import torch; from utils.memory import tune_allocator; tune_allocator(); x = torch.ones(50_000_000); "
        "print(next(line for line in open('/proc/self/smaps_rollup') if 'AnonHuge' in line).split()[1])"
    )
    environment = {key: value for key, value in memory.os.environ.items() if key != "THP_MEM_ALLOC_ENABLE"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, check=True)
    # The system may be short of whole large pages, so not all of the 195,313 kB need to be there.
    assert int(done.stdout) > 20_000


def test_the_peak_stays_when_the_memory_is_gone():
    block = torch.ones(100_000_000)
    peak = memory.peak_memory_mb(torch.device("cpu"))
    assert peak > block.nbytes / 1e6
    del block
    assert memory.peak_memory_mb(torch.device("cpu")) >= peak
