"""Compiles the C++ sources into a shared library: python extensions/build.py, which needs no torch.

A plain C library rather than a torch extension: it needs a C++ compiler and nothing else, takes seconds instead of a
minute, and stays right when torch is replaced. There is one file for each level of instructions, so that a folder
shared by several machines, or a wheel, serves each with the best that it can run. A file's name holds a hash of the
sources.
"""

import argparse
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
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent
# Contraction to fused multiply-adds rounds differently from the plain definition and reorders near neighbors.
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-fvisibility=hidden", "-fPIC", "-shared", "-pthread", "-Wno-psabi")
# So that a wheel needs no version of the C++ library, and of the C library only what is called.
STATIC = ("-static-libstdc++", "-Wl,--gc-sections", "-Wl,--exclude-libs,ALL")
COMPILERS = ("c++", "g++", "clang++")

log = logging.getLogger(__name__)


class Level(NamedTuple):
    """A set of instructions to compile for."""

    name: str
    options: tuple[str, ...]
    needs: frozenset[str]  # flags of the processor, as /proc/cpuinfo has them


_AVX2 = frozenset("avx avx2 bmi1 bmi2 f16c fma movbe popcnt".split())
_AVX512 = _AVX2 | frozenset("avx512f avx512bw avx512cd avx512dq avx512vl".split())
_AVX2_OPTIONS = ("-mavx2", "-mbmi", "-mbmi2", "-mf16c", "-mfma", "-mmovbe", "-mpopcnt")
_AVX512_OPTIONS = (*_AVX2_OPTIONS, "-mavx512f", "-mavx512bw", "-mavx512cd", "-mavx512dq", "-mavx512vl")
# The best first. What a compiler makes for other processors by default has their vectors.
LEVELS = {
    "x86_64": (
        Level("avx512", _AVX512_OPTIONS, _AVX512),
        Level("avx2", _AVX2_OPTIONS, _AVX2),
        Level("sse2", (), frozenset()),
    )
}
BASELINE = (Level("generic", (), frozenset()),)


class BuildError(RuntimeError):
    """Why there is no library, in one sentence."""


def sources() -> list[Path]:
    """The C++ files, those of the operations and what they share."""
    return sorted(ROOT.glob("*/*.cpp"))


def library_path() -> Path:
    """Where the library for these sources and this machine is, or is to be."""
    levels = usable_levels()
    return next((path for level in levels if (path := _place(level)).is_file()), _place(levels[0]))


def usable_levels() -> list[Level]:
    """The levels that this machine can run, the best first; with the variable POINT_OPS_LEVEL the one that it names.

    Raises:
        BuildError: it names none of them.
    """
    flags, chosen = _processor_flags(), os.environ.get("POINT_OPS_LEVEL")
    usable = [level for level in _levels() if level.needs <= flags]
    if not chosen:
        return usable
    if chosen not in (names := [level.name for level in usable]):
        raise BuildError(f"POINT_OPS_LEVEL is '{chosen}', but this machine can run: {', '.join(names)}")
    return [level for level in usable if level.name == chosen]


def build() -> Path:
    """Compiles the library, unless the best one that this machine can run is there.

    Returns:
        Its file.

    Raises:
        BuildError: there is no compiler, or it fails.
    """
    problem = ""
    for level in usable_levels():
        path = _place(level)
        if path.is_file():
            return path
        problem = compile_level(level, path)
        if not problem:
            _remove_stale(path)
            return path
    raise BuildError(problem)


def build_portable(folder: Path) -> list[Path]:
    """Compiles the libraries of all levels, with the C++ library inside, for machines other than this one.

    Args:
        folder: where to put them.

    Returns:
        Their files.

    Raises:
        BuildError: there is no compiler, or it fails.
    """
    paths = []
    for level in _levels():
        path = folder / _file_name(level)
        problem = compile_level(level, path, STATIC)
        if problem:  # not every system has the static C++ library
            problem = compile_level(level, path)
        if problem:
            raise BuildError(problem)
        paths.append(path)
    return paths


def compile_level(level: Level, path: Path, options: tuple[str, ...] = ()) -> str:
    """Compiles one library and, where this machine can run it, tries it.

    Args:
        level: what to compile for.
        path: the file to write, replaced in one step.
        options: further ones of the compiler.

    Returns:
        What went wrong, in one sentence; empty if nothing did.

    Raises:
        BuildError: there is no compiler.
    """
    compiler = _find_compiler()
    path.parent.mkdir(parents=True, exist_ok=True)
    # In a folder of its own and moved when done: builds at the same time do not disturb each other.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".build-") as folder:
        fresh = Path(folder) / path.name
        files = [str(source) for source in sources()]
        command = [compiler, *FLAGS, *level.options, *options, f"-I{ROOT}", *files, "-o", str(fresh)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        is_tried = level in usable_levels()
        if done.returncode == 0 and (not is_tried or _runs(fresh)):
            os.replace(fresh, path)
            return ""
    reason = (done.stderr.strip().splitlines() or ["the library does not run on this machine"])[-1]
    return f"'{compiler}' could not compile {ROOT} for {level.name}: {reason}"


def _levels() -> tuple[Level, ...]:
    machine = platform.machine().lower()
    return LEVELS.get("x86_64" if machine == "amd64" else machine, BASELINE)


def _file_name(level: Level) -> str:
    return f"point_ops-{_key()}-{level.name}.so"


def _place(level: Level) -> Path:
    """Where the library of a level is, or is to be."""
    places = [folder / _file_name(level) for folder in _folders()]
    return next((place for place in places if place.is_file()), places[0])


def _folders() -> list[Path]:
    """Where libraries are looked for; the first is where a new one goes."""
    own = ROOT / "csrc" / "build"
    try:
        home = Path.home() / ".cache" / "point_ops"
    except RuntimeError:  # a user without a home
        return [own]
    return [own, home] if os.access(ROOT / "csrc", os.W_OK) else [home, own]


def _key() -> str:
    options = [(level.name, level.options) for level in _levels()]
    digest = hashlib.sha256(repr((FLAGS, options, platform.system(), platform.machine())).encode())
    for source in sorted((*ROOT.glob("*/*.cpp"), *ROOT.glob("*/*.h"))):
        digest.update(source.relative_to(ROOT).as_posix().encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _remove_stale(fresh: Path) -> None:
    """Removes libraries of other sources; those of other levels stay, since another machine may share the folder."""
    for path in fresh.parent.glob("point_ops-*.so"):
        if not path.name.startswith(f"point_ops-{_key()}-"):
            path.unlink(missing_ok=True)


def _processor_flags() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split())


def _find_compiler() -> str:
    for name in (os.environ.get("CXX"), *COMPILERS):
        if name and (found := shutil.which(name)):
            return found
    raise BuildError("there is no C++ compiler (on Debian and Ubuntu: sudo apt install g++)")


def _runs(library: Path) -> bool:
    """In a process of its own: an instruction that the machine lacks would end this one."""
    program = (
        "import ctypes, sys; run = ctypes.CDLL(sys.argv[1]).point_ops_fps; run.restype = ctypes.c_int;"
        "points, picked, n = (ctypes.c_float * 12288)(), (ctypes.c_int64 * 2)(), ctypes.c_int64;"
        "sys.exit(run(points, n(1), n(4096), n(2), picked, 1))"
    )
    return (
        subprocess.run([sys.executable, "-c", program, str(library)], capture_output=True, check=False).returncode == 0
    )


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0, also without a compiler, because everything works without the library.

    Args:
        arguments: of the command line; None: those of this process.
    """
    parser = argparse.ArgumentParser(description="Compiles the point operations for the CPU.")
    parser.add_argument("--portable", metavar="FOLDER", type=Path, help="compile for every level, into this folder")
    folder = parser.parse_args(arguments).portable
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    start = time.monotonic()
    try:
        if folder is not None:
            for path in build_portable(folder):
                log.info("point operations: %s", path)
        elif not _place(usable_levels()[0]).is_file():
            path = build()
            log.info("point operations: compiled in %.0f s: %s", time.monotonic() - start, path)
    except (BuildError, OSError) as error:
        log.info("point operations: not compiled, they run in plain PyTorch, which is slower: %s", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
