"""Which objects of a ScanObjectNN file are test objects: the file in circulation is training and test together.

Shape legend: n objects, N points.
"""

from pathlib import Path

import numpy as np

from pointrecon.datasets.open.zero_shot import ZeroShotSet
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import open_hdf5

MIXED = 2890  # 2,309 training and 581 test objects of the unaugmented set
_RADII = 64
_TOLERANCE = 2e-3  # of the unit sphere: half precision and a shift


def test_part(dataset: ZeroShotSet, published: str | Path | None) -> ZeroShotSet:
    """The test objects of a ScanObjectNN file.

    Args:
        dataset: As `find_zero_shot_sets` gives it.
        published: The published test file (test_objectdataset.h5, with or without background), whose clouds are looked
            for by the distances of their points to their mean: whatever their axes, scale and order. None: not there.

    Returns:
        The objects found there; all objects of a file that is not the one in circulation.

    Raises:
        InputError: The file in circulation without the published one, or none of its clouds is found.
    """
    if published is None:
        if len(dataset) != MIXED:
            return dataset
        raise InputError(
            f"'{dataset.source}' holds {MIXED} objects: 2,309 training and 581 test objects without a mark; give the "
            "published test file (--scanobjectnn-test main_split/test_objectdataset.h5), or take all as the published "
            "numbers do (--scanobjectnn all)"
        )
    with open_hdf5(published, ("data",)) as file:
        wanted = np.stack([radii(cloud) for cloud in np.asarray(file["data"][:], np.float32)])
    ours = np.stack([radii(dataset.read(row)[0]) for row in range(len(dataset))])
    nearest = np.array([np.abs(wanted - row).max(1).min() for row in ours])
    rows = np.flatnonzero(nearest < _TOLERANCE)
    if not len(rows):
        raise InputError(
            f"no cloud of '{published}' is in '{dataset.source}'; give the test file of the same variant (with or "
            "without background)"
        )
    return dataset.take(rows, f"{dataset.name} test", f"{len(rows)} of {len(dataset)} objects are in '{published}'")


def radii(points: np.ndarray) -> np.ndarray:
    """Quantiles of the distances to the mean, (N, 3) -> (64,): the same for a cloud in any axes, scale and order."""
    if not len(points) or not np.isfinite(points).all():
        return np.full(_RADII, np.inf, np.float32)
    distances = np.linalg.norm(points - points.mean(0), axis=1)
    return np.quantile(distances / max(float(distances.max()), 1e-12), np.linspace(0, 1, _RADII)).astype(np.float32)
