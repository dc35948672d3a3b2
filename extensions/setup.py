"""What pyproject.toml cannot say: the library for the CPU is compiled on the way, if there is a compiler."""

import importlib.util
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithLibrary(build_py):
    """Puts the library beside its sources, with which it is copied; without a compiler it says so and goes on."""

    def run(self) -> None:
        """Builds the library, then copies modules and data."""
        # By its place: `build` is also the name of a well-known package.
        spec = importlib.util.spec_from_file_location("point_ops_build", Path(__file__).resolve().parent / "build.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.main()
        super().run()

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """The modules of a package, without this file."""
        return [module for module in super().find_package_modules(package, package_dir) if module[1] != "setup"]


setup(cmdclass={"build_py": BuildWithLibrary})
