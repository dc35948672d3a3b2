"""Drop-in for the package `pointnet2_ops` 3.0 of PointNet++ in PyTorch: the same names, without a compiler or CUDA."""

from . import pointnet2_modules, pointnet2_utils

__all__ = ["pointnet2_modules", "pointnet2_utils"]
