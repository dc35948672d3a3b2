"""Where a run took place: versions, machine, commit, command line. Written to env.json."""

import functools
import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pointrecon.utils.processes import distributed

PACKAGES = ("torch", "torchvision", "timm", "open_clip_torch", "numpy", "h5py", "scikit-learn")
ROOT = Path(__file__).resolve().parent.parent


def describe_environment(device: torch.device, command: Sequence[str]) -> dict[str, Any]:
    """Returns what one needs to know to repeat a run.

    Args:
        device: The device of the run.
        command: The command line.
    """
    is_cuda = device.type == "cuda"
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": list(command),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if is_cuda else _cpu_name(),
        "cuda": torch.version.cuda if is_cuda else None,
        "cpu": _cpu_name(),
        "cpu_cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "world_size": distributed.world_size(),
        "git": git_commit(),
    }


@functools.lru_cache(maxsize=1)
def describe_versions() -> dict[str, str | None]:
    """Returns what may round in other ways: Python, torch, NumPy and the commit of this code."""
    packages = {name: _version(name) for name in ("torch", "numpy")}
    return {"python": platform.python_version(), **packages, "commit": (git_commit() or {}).get("commit")}


def git_commit() -> dict[str, Any] | None:
    """Returns the commit of this code and whether files were changed since; None outside a git repository."""
    if not (ROOT / ".git").exists():
        return None  # a copy inside another repository: its commit says nothing
    try:
        commit = _git("rev-parse", "HEAD")
        return {"commit": commit, "is_changed": bool(_git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
