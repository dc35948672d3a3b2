"""Pickles that are small and take minutes or gigabytes to load: the scan counts what loading costs, and refuses.

Each of them was loaded without a complaint before: the figures are of files ten times as large as here, or larger.
"""

import pickle
import random
import struct

import numpy as np
import pytest

from pointrecon.utils.files.checks.pickle_items import PickleError
from pointrecon.utils.files.checks.pickle_policies import ARRAYS, OBJECT_ARRAYS, TORCH
from pointrecon.utils.files.checks.pickle_scan import MAX_LEFT, scan_pickle

ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
MINUS_ONE, MINUS_TWO = b"J\xff\xff\xff\xff", b"J\xfe\xff\xff\xff"  # their hashes are equal
MANY = 100_000


def dtype(code):
    return b"cnumpy\ndtype\nU" + bytes([len(code)]) + code + b"K\x00K\x01\x87R"


def number(value):
    return b"J" + struct.pack("<i", value)


def text_as_states():
    """One text, copied into one array again and again: 30 s for 1 MB of text."""
    text = b"X" + struct.pack("<I", 1 << 20) + b"x" * (1 << 20)
    return ARRAY + b"(K\x01" + number(1 << 20) + b"\x85" + dtype(b"u1") + b"\x89" + text + b"t\x940" + b"h\x00b" * 100


def list_as_states():
    """One list of objects, copied likewise: minutes for 100 kB."""
    items = b"](" + b"N" * MANY + b"eq\x050"
    return ARRAY + items + b"(K\x01" + number(MANY) + b"\x85" + dtype(b"O8") + b"\x89h\x05tq\x060" + b"h\x06b" * 100


def long_numbers_in_keys():
    """One number of 1 MB, 900 times in each key: half a second a key."""
    keys = b"".join(b"(" + b"h\x00" * 900 + number(index) + b"tN" for index in range(9))
    return b"\x8b" + struct.pack("<i", 1 << 20) + b"\x7f" * (1 << 20) + b"\x940}(" + keys + b"u"


def equal_hashes():
    """Keys that are alike up to their last items and have one hash: 26 s for 4,000 of them, 270 kB."""
    rng = random.Random(0)
    shared = b"".join(b"(" + MINUS_ONE * 49 + b"tq" + bytes([index]) + b"0" for index in range(16))
    shared += MINUS_ONE + b"q\x200" + MINUS_TWO + b"q\x210}("
    for index in range(4000):
        parts = [rng.randrange(16) for _ in range(19)] + [0x20 + (index >> bit & 1) for bit in range(12)]
        shared += b"(" + b"".join(b"h" + bytes([part]) for part in parts) + b"tN"
    return shared + b"u"


def equal_hashes_in_a_tuple():
    """The same as a set is made of; 2 ** 13 tuples of 13."""
    keys = b"".join(
        b"(" + b"".join(MINUS_ONE if index >> bit & 1 else MINUS_TWO for bit in range(13)) + b"t"
        for index in range(5000)
    )
    return b"cbuiltins\nset\n(" + keys + b"t\x85R"


def large_sets_as_keys():
    """Sets as keys: hashed and compared as a whole."""
    large = b"(" + b"".join(number(value) for value in range(2000)) + b"\x91"
    return b"}(" + large + b"N" * 3 + b"u"


def copies_of_a_dictionary(call):
    """One dictionary, copied again and again: 48 s and 2 GB for 300 copies of 100,000 entries, 700 kB."""
    entries = b"".join(number(value) + b"N" for value in range(MANY))
    return b"](}q\x00(" + entries + b"u" + call + b"e"


def many_names():
    """Classes of other programs, of which torch makes a table each time it meets one: 6 s for 3,000, 54 kB."""
    return b"](" + b"".join(b"ca\nb%d\n)\x81" % index for index in range(MAX_LEFT + 1)) + b"e"


def wide_references():
    """One tuple of tuples as a reference to a storage, thousands of times: gigabytes of what it says."""
    wide = b"K\x01q\x000" + b"".join(
        b"(" + b"h" + bytes([index - 1]) + (b"h" + bytes([index - 1])) * 7 + b"tq" + bytes([index]) + b"0"
        for index in range(1, 6)
    )
    return wide + b"](" + b"h\x05Q" * 1000 + b"e"


COUNTER = b"ccollections\nCounter\nq\x01h\x00\x85R" + b"h\x01h\x00\x85R" * 20
ORDERED = b"ccollections\nOrderedDict\n)R" + b"h\x00b" * 20
SMALL = {
    "a text as states": (text_as_states, ARRAYS, "builds more"),
    "a list as states": (list_as_states, OBJECT_ARRAYS, "builds more"),
    "long numbers in keys": (long_numbers_in_keys, ARRAYS, "odd keys"),
    "equal hashes": (equal_hashes, ARRAYS, "odd keys"),
    "equal hashes in a tuple": (equal_hashes_in_a_tuple, ARRAYS, "odd keys"),
    "sets as keys": (large_sets_as_keys, ARRAYS, "odd keys"),
    "copies as counters": (lambda: copies_of_a_dictionary(COUNTER), TORCH, "builds more"),
    "copies as states": (lambda: copies_of_a_dictionary(ORDERED), TORCH, "builds more"),
    "names": (many_names, TORCH, f"more than {MAX_LEFT} classes"),
}


@pytest.mark.parametrize("name", SMALL)
def test_what_costs_too_much_is_refused(name):
    make, policy, message = SMALL[name]
    with pytest.raises(PickleError, match=message):
        scan_pickle(b"\x80\x02" + make() + b".", policy)


def test_references_say_short_things():
    scan = scan_pickle(b"\x80\x02" + wide_references() + b".", TORCH)
    assert len(scan.persistent_ids) == 1000 and set(scan.persistent_ids) == {(None,) * 8}


def test_what_real_files_have_is_none_of_that():
    many = {(index, index % 7): index for index in range(5000)} | {index / 3: None for index in range(3000)}
    for value in ([np.zeros((50, 3), "f4") for _ in range(300)], many, {frozenset({1, 2}): 0, ("x" * 5000, 1): 0}):
        for protocol in (0, 2, 4):
            data = pickle.dumps(value, protocol)
            assert scan_pickle(data, ARRAYS).end == len(data)
