"""Heaps of HDF5 files, sound and damaged."""

import h5py
import pytest

from pointrecon.utils.files.checks.hdf5_heap import HeapError, check_heaps


@pytest.fixture
def data(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", data=["some text", "more"], dtype=h5py.string_dtype())
    return bytearray((tmp_path / "a.h5").read_bytes())


def test_sound_heap_is_found(data):
    (place,) = check_heaps(data, [(0, len(data))])
    assert data[place : place + 4] == b"GCOL" and check_heaps(data, [(0, place), (place + 1, len(data))]) == set()


@pytest.mark.parametrize("size", [0, 2**64 - 1, 2**64 - 16, 5000])
@pytest.mark.parametrize("number", [b"\0\0", b"\1\0"])
def test_damaged_object_is_refused(data, number, size):
    place = data.find(b"some text")
    data[place - 16 : place - 14] = number
    data[place - 8 : place] = size.to_bytes(8, "little")
    if number == b"\1\0" and size == 0:
        pytest.skip("an empty text, and what follows is no object")
    with pytest.raises(HeapError, match="claims"):
        check_heaps(data, [(0, len(data))])


def test_heap_beyond_the_file_is_refused(data):
    place = data.find(b"GCOL")
    data[place + 8 : place + 16] = (1 << 40).to_bytes(8, "little")
    with pytest.raises(HeapError, match="claim to end at byte 1,099,511"):
        check_heaps(data, [(0, len(data))])
