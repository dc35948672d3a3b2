"""What pyproject.toml cannot say: the CPU library is compiled for every level of instructions, if there is a compiler.

The wheel then serves every Python and every processor of the kind, on every Linux whose C library is as new as the
functions that the libraries call. Without a compiler it is a wheel for everything, in plain torch.
"""

import platform
import re
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent


class BuildWithLibraries(build_py):
    """Puts the libraries beside their sources; without a compiler it says so and goes on."""

    def run(self) -> None:
        """Builds the libraries, then copies modules and data."""
        super().run()
        command = [sys.executable, str(HERE / "build.py")]
        if not self.editable_mode:
            command += ["--portable", str(Path(self.build_lib) / "recon_point_ops" / "csrc" / "build")]
        subprocess.run(command, check=True)

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """The modules of a package, without this file."""
        return [module for module in super().find_package_modules(package, package_dir) if module[1] != "setup"]


class WheelForEveryPython(bdist_wheel):
    """A wheel whose name says what the libraries need: nothing of Python, a C library of some version."""

    def get_tag(self) -> tuple[str, str, str]:
        """The tags of Python, its ABI and the platform."""
        libraries = list(Path(self.bdist_dir or "").rglob("point_ops-*.so"))
        libraries = libraries or list((HERE / "build").rglob("recon_point_ops/csrc/build/point_ops-*.so"))
        if not libraries:
            return "py3", "none", "any"
        needed = re.findall(rb"GLIBC_2\.(\d+)", b"".join(path.read_bytes() for path in libraries))
        needs_cxx = any(b"libstdc++.so" in path.read_bytes() for path in libraries)
        if not needed or needs_cxx:
            return "py3", "none", super().get_tag()[2]
        return "py3", "none", f"manylinux_2_{max(int(minor) for minor in needed)}_{platform.machine()}"


class DistributionWithLibraries(Distribution):
    """One that is installed where compiled code goes."""

    def has_ext_modules(self) -> bool:
        """Whether there is compiled code in it."""
        return True


setup(
    cmdclass={"build_py": BuildWithLibraries, "bdist_wheel": WheelForEveryPython}, distclass=DistributionWithLibraries
)
