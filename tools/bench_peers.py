"""Other people's point operations, for comparison: what is installed is timed, what is not is named.

Shape legend: B batch, N points, G samples, K neighbours.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor

# What a peer is asked: clouds (B, N, 3), G, K. It answers with indices: (B, G) of samples, (B, G, K) of neighbours.
Run = Callable[[Tensor, Tensor, int, int], Tensor]


class Peer(NamedTuple):
    """One way of another package to run an operation."""

    operation: str  # fps, knn or patchify
    name: str
    package: str  # what to import
    install: str  # what to give to pip
    devices: tuple[str, ...]
    prepare: Callable[[], Run]  # imports the package and may build it, which is not timed

    def reason_missing(self, device: torch.device) -> str | None:
        """Why it cannot be timed; None if it can."""
        if device.type not in self.devices:
            return f"does not run on {device.type}"
        if find_spec(self.package) is None:
            return f"not installed: pip install {self.install}"
        return None


def _torch_fps() -> Run:
    import torch_fps

    _check_torch_fps()

    def run(points: Tensor, centers: Tensor, num_samples: int, k: int) -> Tensor:
        everything = points.new_ones(points.shape[:2], dtype=torch.bool)
        options = {"random_start": False, "validate": False, "assume_finite": True}
        return torch_fps.farthest_point_sampling(points, everything, num_samples, **options)

    return run


def _torch_fps_fused() -> Run:
    import torch_fps

    _check_torch_fps()

    def run(points: Tensor, centers: Tensor, num_samples: int, k: int) -> Tensor:
        everything = points.new_ones(points.shape[:2], dtype=torch.bool)
        options = {"random_start": False, "validate": False, "assume_finite": True}
        return torch_fps.farthest_point_sampling_with_knn(points, everything, num_samples, k, **options)[1]

    return run


def _check_torch_fps() -> None:
    """Its slow way out, which it takes without a compiler, would be no fair comparison."""
    from torch_fps import _cpu

    if not torch.cuda.is_available() and _cpu.get_module() is None:
        raise RuntimeError("it could not build its C++ part, which needs a compiler and ninja")


def _torch_quickfps() -> Run:
    import torch_quickfps

    return lambda points, centers, num_samples, k: torch_quickfps.sample_idx(points, num_samples, start_idx=0)


def _fpsample() -> Run:
    import fpsample

    def run(points: Tensor, centers: Tensor, num_samples: int, k: int) -> Tensor:
        # Its advice for the height of the tree: 3 for a thousand points, 5 for ten thousand, 7 for more.
        height = 3 if points.shape[1] < 5000 else 5 if points.shape[1] < 50000 else 7
        rows = [fpsample.bucket_fps_kdline_sampling(cloud, num_samples, h=height) for cloud in points.numpy()]
        return torch.tensor([row.tolist() for row in rows])

    return run


def _cdist() -> Run:
    def run(points: Tensor, centers: Tensor, num_samples: int, k: int) -> Tensor:
        return torch.cdist(centers, points).topk(k, dim=-1, largest=False).indices

    return run


def _tree() -> Run:
    from scipy.spatial import KDTree

    def run(points: Tensor, centers: Tensor, num_samples: int, k: int) -> Tensor:
        pairs = zip(points.numpy(), centers.numpy(), strict=True)
        threads = torch.get_num_threads()
        return torch.stack([torch.from_numpy(KDTree(a).query(b, k, workers=threads)[1]) for a, b in pairs])

    return run


BOTH = ("cpu", "cuda")
PEERS = (
    Peer("fps", "torch-fps", "torch_fps", "torch-fps ninja", BOTH, _torch_fps),
    Peer("fps", "torch-quickfps", "torch_quickfps", "torch-quickfps", BOTH, _torch_quickfps),
    Peer("fps", "fpsample", "fpsample", "fpsample", ("cpu",), _fpsample),
    Peer("knn", "cdist+topk", "torch", "torch", BOTH, _cdist),
    Peer("knn", "k-d tree", "scipy", "scipy", ("cpu",), _tree),
    Peer("patchify", "torch-fps fused", "torch_fps", "torch-fps ninja", BOTH, _torch_fps_fused),
)
