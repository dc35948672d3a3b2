"""Headers of both versions: what is virtual is found, what is not is not, and nonsense is neither."""

import random

import h5py
import numpy as np
import pytest

from pointrecon.utils.files.checks.hdf5_headers import is_virtual


@pytest.mark.parametrize("versions", [("earliest", "latest"), ("latest", "latest"), ("v108", "v108")])
@pytest.mark.parametrize("num_attributes", [0, 5, 60])
def test_virtual_data_sets_are_told_from_others(tmp_path, versions, num_attributes):
    with h5py.File(tmp_path / "a.h5", "w", libver=versions) as file:
        layout = h5py.VirtualLayout((4, 3), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "points", (4, 3))
        if versions[1] != "v108":
            file.create_virtual_dataset("virtual", layout)
        file["plain"], file["texts"] = np.zeros((4, 3)), ["a", "b"]
        file.create_dataset("chunked", (40, 3), "f4", chunks=(10, 3), compression="gzip", maxshape=(None, 3))
        file.create_dataset("compact", data=np.zeros(3))
        file.create_group("group")
        for item in file.values():
            for number in range(num_attributes):
                item.attrs[f"attribute {number}"] = number
    data = (tmp_path / "a.h5").read_bytes()
    with h5py.File(tmp_path / "a.h5") as file:
        found = {name for name in file if is_virtual(data, file.id.links.get_info(name.encode()).u)}
    assert found == ({"virtual"} if versions[1] != "v108" else set())


def test_nonsense_is_no_header():
    rng = random.Random(0)
    for _ in range(300):
        data = b"OHDR" * (rng.random() < 0.5) + rng.randbytes(rng.randrange(200))
        is_virtual(data, rng.choice((0, 3, len(data), 1 << 62)))
