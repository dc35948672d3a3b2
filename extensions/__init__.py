"""Point-cloud operations. Import from `extensions.ops`; this package needs torch and nothing else."""

from extensions.ops import chamfer_distance, fps, gather, group, knn, three_interpolate, three_nn

__all__ = ["chamfer_distance", "fps", "gather", "group", "knn", "three_interpolate", "three_nn"]
