"""GPU backend: Triton kernels, compiled when first used, without nvcc and without a build step."""

if __name__ == "triton":
    # extensions/ itself is on the import path (so that the drop-in packages are found) and this folder now stands
    # before the compiler of the same name: hand that one over instead.
    import importlib.machinery
    import importlib.util
    import sys
    from pathlib import Path

    _here = Path(__file__).resolve().parents[1]
    _spec = importlib.machinery.PathFinder.find_spec("triton", [p for p in sys.path if Path(p).resolve() != _here])
    if _spec is None or _spec.loader is None:
        raise ModuleNotFoundError("No module named 'triton'", name="triton")
    sys.modules["triton"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["triton"])
else:
    from .chamfer import chamfer_distance, pairs_backward, pairs_forward
    from .launch import is_available, unavailable_reason
    from .neighbors import knn, nearest, three_nn
    from .patches import patchify
    from .pooling import pool_max
    from .sampling import fps

    __all__ = [
        "chamfer_distance",
        "fps",
        "is_available",
        "knn",
        "nearest",
        "pairs_backward",
        "pairs_forward",
        "patchify",
        "pool_max",
        "three_nn",
        "unavailable_reason",
    ]
