"""What pyproject.toml cannot say: the library for the CPU is compiled on the way, if there is a compiler.

The package is then one for this kind of machine, and says so in its file name.
"""

import importlib.util
import shutil
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py


class BuildWithLibrary(build_py):
    """Puts the library beside its sources; without a compiler it says so and goes on."""

    def run(self) -> None:
        """Builds the library, then copies modules and data."""
        # By its place: `build` is also the name of a well-known package.
        spec = importlib.util.spec_from_file_location("point_ops_build", Path(__file__).resolve().parent / "build.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.main()
        super().run()
        library = module.library_path()
        if library.is_file() and not self.editable_mode:  # this one alone: older ones may lie beside it
            folder = Path(self.build_lib) / "recon_point_ops" / "csrc" / "build"
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(library, folder)

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """The modules of a package, without this file."""
        return [module for module in super().find_package_modules(package, package_dir) if module[1] != "setup"]


class PlatformDistribution(Distribution):
    """One whose library is for this kind of processor and system."""

    def has_ext_modules(self) -> bool:
        """Whether there is compiled code in it."""
        return True


setup(cmdclass={"build_py": BuildWithLibrary}, distclass=PlatformDistribution)
