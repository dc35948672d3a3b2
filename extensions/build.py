"""Compiles csrc/ into a shared library: python -m extensions.build, or python extensions/build.py without torch.

A plain C library rather than a torch extension: it needs a C++ compiler and nothing else, takes seconds instead of a
minute, and stays right when torch is replaced. Its file name holds a hash of the sources, the flags and the machine's
processor, so that a folder shared by several machines serves each its own.
"""

import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "csrc"
# Contraction to fused multiply-adds rounds differently from the plain definition and reorders near neighbours.
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-fvisibility=hidden", "-fPIC", "-shared", "-pthread", "-Wno-psabi")
TUNING = (("-march=native",), ("-mcpu=native",), ())  # the first that the compiler knows
COMPILERS = ("c++", "g++", "clang++")

log = logging.getLogger(__name__)


class BuildError(RuntimeError):
    """Why there is no library, in one sentence."""


def library_path() -> Path:
    """Where the library for these sources and this machine is, or is to be."""
    name = f"point_ops-{_key()}.so"
    folders = (SOURCES / "build", Path.home() / ".cache" / "point_ops")
    existing = [folder / name for folder in folders if (folder / name).is_file()]
    if existing:
        return existing[0]
    return (folders[0] if os.access(SOURCES, os.W_OK) else folders[1]) / name


def build() -> Path:
    """Compiles the library, unless it is there.

    Returns:
        Its file.

    Raises:
        BuildError: there is no compiler, or it fails.
    """
    path = library_path()
    if path.is_file():
        return path
    compiler = _find_compiler()
    path.parent.mkdir(parents=True, exist_ok=True)
    # In a folder of its own and moved when done: builds at the same time do not disturb each other.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".build-") as folder:
        fresh = Path(folder) / path.name
        for tuning in TUNING:
            sources = sorted(str(source) for source in SOURCES.glob("*.cpp"))
            command = [compiler, *FLAGS, *tuning, *sources, "-o", str(fresh)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0 and _runs(fresh):
                os.replace(fresh, path)
                return path
    problem = (done.stderr.strip().splitlines() or ["the library does not run on this machine"])[-1]
    raise BuildError(f"'{compiler}' could not compile {SOURCES}: {problem}")


def _key() -> str:
    digest = hashlib.sha256(repr((FLAGS, TUNING, platform.system(), platform.machine(), _processor())).encode())
    for source in sorted(SOURCES.glob("*.*")):
        if source.suffix in (".cpp", ".h"):
            digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _processor() -> str:
    """What decides which instructions there are."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


def _find_compiler() -> str:
    for name in (os.environ.get("CXX"), *COMPILERS):
        if name and (found := shutil.which(name)):
            return found
    raise BuildError("there is no C++ compiler (on Debian and Ubuntu: sudo apt install g++)")


def _runs(library: Path) -> bool:
    """In a process of its own: an instruction that the machine lacks would end this one."""
    program = (
        "import ctypes, sys; run = ctypes.CDLL(sys.argv[1]).point_ops_fps; run.restype = ctypes.c_bool;"
        "points, picked, n = (ctypes.c_float * 12288)(), (ctypes.c_int64 * 2)(), ctypes.c_int64;"
        "sys.exit(not run(points, n(1), n(4096), n(2), picked, 1))"
    )
    return (
        subprocess.run([sys.executable, "-c", program, str(library)], capture_output=True, check=False).returncode == 0
    )


def main() -> int:
    """Returns the exit code: 0, also without a compiler, because everything works without the library."""
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    start = time.monotonic()
    try:
        if not library_path().is_file():
            path = build()
            log.info("point operations: compiled in %.0f s: %s", time.monotonic() - start, path)
    except (BuildError, OSError) as error:
        log.info("point operations: not compiled, they run in plain PyTorch, which is slower: %s", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
