"""Pickles are followed to their end in every protocol; what stalls a loader is found. See also test_hostile.py."""

import pickle

import numpy as np
import pytest

from pointrecon.utils.files.checks.pickle_items import PickleError, RefusedPickleError
from pointrecon.utils.files.checks.pickle_policies import ARRAYS, TORCH
from pointrecon.utils.files.checks.pickle_scan import scan_pickle

VALUE = {
    "a": [(np.arange(4.0), 3, "x"), None, True, -5, 2**70, 1.5, b"bytes", bytearray(b"y")],
    "b": {(1, 2): {3}, frozenset({4}): "é" * 300},
    7: np.float32(2),
}


@pytest.mark.parametrize("protocol", range(6))
def test_sound_pickle_is_followed_to_its_end(protocol):
    data = pickle.dumps(VALUE, protocol)
    assert scan_pickle(data, ARRAYS).end == len(data)
    assert scan_pickle(b"abc" + data + b"def", ARRAYS, 3).end == len(data) + 3


@pytest.mark.parametrize("protocol", range(6))
def test_truncated_pickle_is_refused(protocol):
    data = pickle.dumps(VALUE, protocol)
    for end in range(0, len(data), 7):
        with pytest.raises(PickleError):
            scan_pickle(data[:end], ARRAYS)


def test_references_and_names():
    data = b"\x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuM\x10\x27tQ."
    scan = scan_pickle(data, TORCH)
    assert scan.persistent_ids == [("storage", "torch FloatStorage", "0", "cpu", 10_000)]
    assert scan.names == {"torch FloatStorage"} and "BINPERSID" in scan.opcodes


@pytest.mark.parametrize("data", [b"", b".", b"\xff.", b"K\x01s.", b"h\x05.", b"(q\x00.", b"t.", b"N0", b"Ix\n.p-1\n"])
def test_nonsense_is_refused(data):
    if data == b"Ix\n.p-1\n":
        data = b"I1\np-1\n."
    with pytest.raises(PickleError):
        scan_pickle(data, ARRAYS)


@pytest.mark.parametrize(
    "data",
    [
        b"c_codecs\nencode\n.",
        b"]c_codecs\nencode\na.",
        b"](c_codecs\nencode\ne.",
        b"(c_codecs\nencode\nl.",
        b"(c_codecs\nencode\nt.",
        b"c_codecs\nencode\n\x85.",
        b"}K\x01c_codecs\nencode\ns.",
        b"(K\x01c_codecs\nencode\nd.",
        b"\x8f(c_codecs\nencode\n\x90.",
    ],
)
@pytest.mark.parametrize("policy", [ARRAYS, TORCH])
def test_functions_are_called_and_never_kept(data, policy):
    with pytest.raises(RefusedPickleError, match="it holds '_codecs.encode' as a value"):
        scan_pickle(data, policy)
