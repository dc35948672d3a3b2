"""Drop-in for the package `pointnet2_ops` 3.0 of PointNet++ in PyTorch: the same names, without a compiler or CUDA."""

from . import _ext, pointnet2_modules, pointnet2_utils

__version__ = "3.0.0"  # of the package that this one stands for: programs compare it

__all__ = ["_ext", "pointnet2_modules", "pointnet2_utils"]
