"""What `bench_ops.py` times: our backends and other packages, each held against the definition first.

Shape legend: B batch, N points, G samples, K neighbors.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor

from pointrecon.extensions import dispatch, ops
from pointrecon.extensions.backends import reference

MAX_SPREAD = 1.05  # samples from another start may leave gaps this much wider than ours
MIN_AGREEMENT = 0.95  # of neighbors: other packages round otherwise
# What a peer is asked: clouds (B, N, 3), G, K. It answers with indices: (B, G) of samples, (B, G, K) of neighbors.
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


class Size(NamedTuple):
    """What is asked: N points to G samples and K neighbors of each."""

    batch: int
    num_points: int
    num_samples: int
    k: int

    def __str__(self) -> str:
        return f"{self.batch} x {self.num_points} -> {self.num_samples}"


SIZES = {
    "cpu": (Size(32, 1024, 64, 32), Size(32, 2048, 128, 32), Size(32, 8192, 512, 32), Size(1, 100_000, 1024, 32)),
    "cuda": (Size(128, 1024, 64, 32), Size(32, 2048, 128, 32), Size(32, 8192, 512, 32), Size(1, 100_000, 1024, 32)),
}
SMALL = Size(2, 600, 40, 8)  # where everybody is tried first


@dataclass(frozen=True)
class Skipped:
    """A candidate that was not timed."""

    operation: str
    name: str
    reason: str


class Candidate(NamedTuple):
    """Something to time."""

    name: str
    is_ours: bool
    run: Callable[[Tensor, Tensor, int, int], Tensor]


def make_clouds(size: Size, device: torch.device, seed: int = 0) -> Tensor:
    """(B, N, 3) points of random ellipsoids, as if surfaces had been sampled."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(size.batch, size.num_points, 3, generator=generator)
    points = points / points.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    return (points * (0.2 + torch.rand(size.batch, 1, 3, generator=generator))).to(device)


def make_lattices(device: torch.device) -> Tensor:
    """(2, 600, 3) small integers: ties and duplicates everywhere."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 6, (SMALL.batch, SMALL.num_points, 3), generator=generator).float().to(device)


@contextmanager
def forced(backend: str) -> Iterator[None]:
    """Runs the operations on one backend."""
    before = os.environ.get("POINT_OPS")
    os.environ["POINT_OPS"] = backend
    try:
        yield
    finally:
        if before is None:
            del os.environ["POINT_OPS"]
        else:
            os.environ["POINT_OPS"] = before


def find_candidates(
    operation: str, device: torch.device, skipped: list[Skipped], with_reference: bool = False
) -> Iterator[Candidate]:
    """Yields the backends and peers that are here and right.

    Args:
        operation: "fps", "knn" or "patchify".
        device: where they are to run.
        skipped: gets the others.
        with_reference: also if there is a faster backend.
    """
    clouds = make_clouds(SMALL, device)
    has_ours = False
    for backend in dispatch.BACKENDS:
        if backend == "reference" and has_ours and not with_reference:
            continue
        candidate = Candidate(backend, True, _our_run(operation))
        reason = dispatch.why_unavailable(backend, device.type)
        if not reason and not hasattr(dispatch.load_backend(backend), operation):
            reason = "has no such operation"
        if reason := reason or _try_out(operation, candidate, [clouds, make_lattices(device)]):
            skipped.append(Skipped(operation, backend, reason))
        else:
            has_ours = True
            yield candidate
    for peer in PEERS:
        if peer.operation != operation:
            continue
        reason = peer.reason_missing(device)
        if reason is None:
            try:
                candidate = Candidate(peer.name, False, peer.prepare())
                reason = _try_out(operation, candidate, [clouds])
            except (ImportError, RuntimeError, OSError) as error:
                reason = " ".join(str(error).split())[:200]
        if reason:
            skipped.append(Skipped(operation, peer.name, reason))
        else:
            yield candidate


def _our_run(operation: str) -> Callable[[Tensor, Tensor, int, int], Tensor]:
    def run(points: Tensor, centers: Tensor, num_samples: int, k: int) -> Tensor:
        if operation == "fps":
            return ops.fps(points, num_samples)
        return ops.knn(points, centers, k) if operation == "knn" else ops.patchify(points, num_samples, k)[2]

    return run


def expect(operation: str, points: Tensor, centers: Tensor, size: Size) -> Tensor:
    """The indices of the definition."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # its steps are so small that on a busy machine the threads would only wait for each other
    try:
        if operation == "fps":
            return reference.fps(points, size.num_samples)
        if operation == "patchify":
            centers = reference.gather(points, reference.fps(points, size.num_samples))
        return reference.knn(points, centers, size.k)
    finally:
        torch.set_num_threads(num_threads)


def call(candidate: Candidate, points: Tensor, centers: Tensor, size: Size) -> Tensor:
    if not candidate.is_ours:
        return candidate.run(points, centers, size.num_samples, size.k)
    with forced(candidate.name):
        return candidate.run(points, centers, size.num_samples, size.k)


def _try_out(operation: str, candidate: Candidate, trials: Sequence[Tensor]) -> str | None:
    """Runs small clouds and returns what is wrong."""
    for points in trials:
        centers = points[:, : SMALL.num_samples].contiguous()
        try:
            result = call(candidate, points, centers, SMALL)
        except Exception as error:  # noqa: BLE001  (those of Triton's compiler have no class in common)
            return " ".join(str(error).split())[:200]
        if reason := find_mistake(operation, candidate, result, points, expect(operation, points, centers, SMALL)):
            return reason
        if operation == "patchify" and candidate.is_ours and (reason := _find_wrong_patches(candidate, points)):
            return reason
    return None


def find_mistake(operation: str, candidate: Candidate, result: Tensor, points: Tensor, expected: Tensor) -> str | None:
    """Holds indices against the definition: ours must be equal; others may start elsewhere and round otherwise."""
    result = result.to(points.device, torch.int64)
    if result.shape != expected.shape:
        return f"wrong result: shape {tuple(result.shape)} instead of {tuple(expected.shape)}"
    if candidate.is_ours:
        share = (result == expected).float().mean().item()
        return None if share == 1 else f"wrong result: {1 - share:.2%} of the indices differ from the reference"
    if operation == "fps":
        spread = _spread(points, result) / _spread(points, expected)
        return None if spread < MAX_SPREAD else f"wrong result: gaps between samples are {spread:.2f} times as wide"
    share = (result.unsqueeze(-1) == expected.unsqueeze(-2)).any(dim=-1).float().mean().item()
    return None if share > MIN_AGREEMENT else f"wrong result: {1 - share:.1%} of the neighbors are others"


def _find_wrong_patches(candidate: Candidate, points: Tensor) -> str | None:
    """Holds centres and patches, of which the indices say nothing, against the definition."""
    with forced(candidate.name):
        found = ops.patchify(points, SMALL.num_samples, SMALL.k)
    wanted = reference.patchify(points, SMALL.num_samples, SMALL.k)
    is_wrong = not all(torch.equal(one, two) for one, two in zip(found, wanted, strict=True))
    return "wrong result: centres or patches differ from the reference" if is_wrong else None


def _spread(points: Tensor, index: Tensor) -> float:
    """Mean over clouds of the largest distance from a point to its nearest sample."""
    squared = reference.squared_distances(points, reference.gather(points, index))
    return squared.amin(dim=-1).amax(dim=-1).sqrt().mean().item()
