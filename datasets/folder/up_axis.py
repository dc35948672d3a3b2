"""Which way is up: a guess for the files of one folder, from how they would stand.

A shape stands on a wide, flat and level support, with its centre of mass over it, and is most often symmetric left and
right about a vertical plane. Each file votes for the axis on which it stands best; the folder's answer is the sum.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pointrecon.datasets.meshes.orient import AXES
from pointrecon.utils.errors import InputError

# Name -> the rotation that turns this axis to +y.
ROTATIONS: dict[str, np.ndarray] = {
    "y": AXES["y"],
    "z": AXES["z"],
    "-y": np.diag([1.0, -1.0, -1.0]),
    "-z": np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]),
    "x": np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
    "-x": np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
}
CANDIDATES = ("y", "z", "-y", "-z")
# What formats say of themselves (glTF, DAE by default) or what their programs do.
CONVENTIONS = {
    ".glb": "y",
    ".gltf": "y",
    ".obj": "y",
    ".wrl": "y",
    ".off": "z",
    ".dae": "z",
    ".stl": "z",
    ".3ds": "z",
    ".las": "z",
    ".laz": "z",
    ".e57": "z",
    ".pcd": "z",
    ".ply": "z",
}
BY_DEFINITION = (".glb", ".gltf")  # the format says so; others only have habits
# Probability of an axis before any shape is looked at, for a convention by definition, by habit, and without any.
DEFINED, USUAL, OTHER = 0.95, 0.65, 0.49
UPSIDE_DOWN = 0.01  # of -y and of -z: hardly any program writes them, and a table stands well on its top too
# What the stability of a shape says: of 410 pieces of furniture, the upright axis scores 0.11 to 0.15 above another,
# with a deviation of 0.3 from piece to piece, so a file's score counts 0.13 / 0.3^2 and as much again for the other.
EVIDENCE = 2.6
ALIKE = 0.2  # correlation of the files of a folder: a folder of lamps errs for all lamps
SLAB = 0.02  # of the height: what counts as the ground that a shape stands on


@dataclass(frozen=True)
class UpGuess:
    """The guess for a folder.

    Attributes:
        axis: A key of `ROTATIONS`.
        confidence: Probability that it is the one, in 0..1. Of 1,080 folders drawn from 20 classes of furniture, half
            of them against their format's habit, those found with 0.9 or more were all right, and 97 in 100 of those
            with 0.7 or more; of folders of a single class 82 and 75 in 100.
        votes: Files that prefer each axis.
    """

    axis: str
    confidence: float
    votes: dict[str, int]

    def __str__(self) -> str:
        listed = ", ".join(f"{axis}: {count}" for axis, count in sorted(self.votes.items(), key=lambda item: -item[1]))
        return f"up is {self.axis} (confidence {self.confidence:.2f}; best axis by file: {listed})"


def rotation_of(up: str) -> np.ndarray:
    """(3, 3) rotation of the axis `up` to +y.

    Raises:
        InputError: No such axis.
    """
    if up not in ROTATIONS:
        raise InputError(f"up is '{up}', but must be one of: {', '.join(ROTATIONS)}, auto")
    return ROTATIONS[up]


def guess_up(clouds: Sequence[np.ndarray], suffixes: Sequence[str]) -> UpGuess:
    """The axis that is up in most files.

    Args:
        clouds: (N, 3) points evenly on each shape, in the axes of its file.
        suffixes: Of the files, such as ".obj".

    Raises:
        InputError: There is no cloud.
    """
    if not clouds:
        raise InputError("there is no readable file to guess the up axis from; give up=y or up=z")
    votes: Counter[str] = Counter()
    total = np.zeros(len(CANDIDATES))
    for cloud, suffix in zip(clouds, suffixes, strict=True):
        scores = np.array([stability(cloud @ ROTATIONS[axis].T) for axis in CANDIDATES])
        prior = _log_prior(suffix.lower())
        votes[CANDIDATES[int((EVIDENCE * scores + prior).argmax())]] += 1
        total += EVIDENCE * scores * len(clouds) / (1 + ALIKE * (len(clouds) - 1)) + prior
    logits = total / len(clouds)
    share = np.exp(logits - logits.max())
    best = int(share.argmax())
    return UpGuess(CANDIDATES[best], float(share[best] / share.sum()), dict(votes))


def _log_prior(suffix: str) -> np.ndarray:
    """(4,) log probabilities of the candidates for a format."""
    axis = CONVENTIONS.get(suffix)
    usual = DEFINED if suffix in BY_DEFINITION else USUAL
    rest = 1 - 2 * UPSIDE_DOWN
    shares = {"y": OTHER, "z": OTHER} if axis is None else {axis: usual, "z" if axis == "y" else "y": rest - usual}
    return np.log([shares.get(name, UPSIDE_DOWN) for name in CANDIDATES])


def stability(points: np.ndarray) -> float:
    """How well a shape stands with +y up, in 0..1.

    Args:
        points: (N, 3) evenly on the shape.
    """
    points = points - (points.min(0) + points.max(0)) / 2
    size = np.ptp(points, axis=0)
    if not size.max() > 0:
        return 0.0
    height = points[:, 1]
    ground = points[height <= height.min() + max(SLAB * size[1], 1e-9 * size.max())][:, [0, 2]]
    center = points[:, [0, 2]].mean(0)
    half = np.maximum(size[[0, 2]] / 2, 1e-12)
    extent = np.ptp(ground, axis=0) / (2 * half) if len(ground) > 2 else np.zeros(2)
    support = float(np.sqrt(np.clip(extent, 0, 1).prod()))
    is_over = float((np.abs(center - (ground.min(0) + ground.max(0)) / 2) <= np.ptp(ground, axis=0) / 2 + 1e-9).all())
    # What stands has its mass low, and mirrors left and right rather than up and down.
    low = 0.5 - float(height.mean()) / max(size[1], 1e-12)
    lopsided = _asymmetry(points, 1) - min(_asymmetry(points, 0), _asymmetry(points, 2))
    return 0.4 * support + 0.2 * is_over + 0.2 * np.clip(low, 0, 1) + 0.2 * np.clip(5 * lopsided, 0, 1)


def _asymmetry(points: np.ndarray, axis: int, num: int = 400) -> float:
    """Mean distance from mirrored points to the shape, relative to its size."""
    from scipy.spatial import cKDTree

    few = points[:: max(1, len(points) // num)]
    mirrored = few.copy()
    mirrored[:, axis] *= -1
    distance, _ = cKDTree(points).query(mirrored)
    return float(distance.mean() / max(np.ptp(points, axis=0).max(), 1e-12))
