"""Pickles are followed to their end in every protocol; what stalls a loader is found. See also test_hostile.py."""

import collections
import io
import pickle
import random

import numpy as np
import pytest

from pointrecon.utils.files.checks.pickle_items import PickleError, RefusedPickleError
from pointrecon.utils.files.checks.pickle_policies import ARRAYS, TORCH
from pointrecon.utils.files.checks.pickle_scan import _Scanner, scan_pickle

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


# Opcodes of plain values, with numbers, marks and ends of files where they may stand and where they may not.
PIECES = [
    *(b"K\x01", b"N", b"X\x01\0\0\0a", b"\x8c\x01b", b"]", b"}", b"\x8f", b")", b"(", b"(", b"\x94", b"\x94"),
    *(b"q\x00", b"q\x02", b"p1\n", b"r\x03\0\0\0", b"h\x00", b"h\x01", b"h\x02", b"j\x01\0\0\0", b"g0\n"),
    *(b"\x85", b"\x86", b"\x87", b"t", b"l", b"d", b"a", b"e", b"s", b"u", b"\x90", b"\x91"),
    *(b"0", b"1", b"2", b"h", b"h\x94", b"."),
]
KINDS = {int: "number", type(None): "none", str: "text", list: "list", dict: "dict", set: "set", frozenset: "set"}
KINDS[tuple] = "tuple"


def test_scan_and_loader_agree():
    """What the loader takes the scan takes, and both hold the same kinds of objects under the same numbers."""
    rng, seen = random.Random(0), collections.Counter()
    for _ in range(20_000):
        data = b"\x80\x04K\x01\x94N\x94])\x94" + b"".join(rng.choices(PIECES, k=rng.randrange(1, 12))) + b"."
        loader = pickle.Unpickler(io.BytesIO(data))
        try:
            value = loader.load()
        except Exception as error:  # noqa: BLE001  (whatever it is)
            value = error
        try:
            scanner = _Scanner(data, ARRAYS, 0, 1000)
            scanner.run()
        except RefusedPickleError:  # kinds of objects that loaders ask for only when there is something to put in
            continue
        except (PickleError, LookupError, ValueError) as error:
            assert isinstance(value, Exception), (data, error)
            seen["refused"] += 1
            continue
        if isinstance(value, Exception):  # such as a list as a key
            assert isinstance(value, TypeError) and "hash" in str(value), (data, value)
            continue
        kinds = {number: KINDS[type(item)] for number, item in loader.memo.copy().items()}
        assert {number: item.kind for number, item in scanner.memo.items()} == kinds, data
        assert scanner.stack[-1].kind == KINDS[type(value)], data
        seen["read"] += 1
    assert min(seen.values()) > 500, seen
