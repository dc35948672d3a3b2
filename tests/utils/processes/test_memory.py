"""The switch of the C library."""

import ctypes
import platform

import torch

from pointrecon.utils.processes import memory


def test_it_works_where_the_library_is_glibc():
    assert memory.keep_freed_memory() == (platform.libc_ver()[0] == "glibc")


def test_it_does_nothing_where_there_is_no_mallopt(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert memory.keep_freed_memory() is False


def test_the_peak_stays_when_the_memory_is_gone():
    block = torch.ones(100_000_000)
    peak = memory.peak_memory_mb(torch.device("cpu"))
    assert peak > block.nbytes / 1e6
    del block
    assert memory.peak_memory_mb(torch.device("cpu")) >= peak
