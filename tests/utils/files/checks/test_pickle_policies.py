"""What a call or a state may be given: each argument of another kind is refused before anything is built."""

import struct

import numpy as np
import pytest

from pointrecon.utils.files.checks.pickle_items import PickleError, RefusedPickleError
from pointrecon.utils.files.checks.pickle_policies import ARRAYS, OBJECT_ARRAYS, TORCH
from pointrecon.utils.files.checks.pickle_scan import scan_pickle
from pointrecon.utils.files.safe_pickle import load_pickle
from tests.utils.files.checks.test_pickle_costs import ARRAY, dtype

ORDERED = b"ccollections\nOrderedDict\n"
STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ"


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value


def tensor(size, stride=b"K\x01\x85", offset=b"K\x00"):
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + offset + size + stride + b"\x89" + ORDERED + b")RtR"


def array(shape, code, data):
    return ARRAY + b"(K\x01" + shape + dtype(code) + b"\x89" + data + b"tb"


REFUSED = {
    "a scalar of an array": (b"cnumpy.core.multiarray\nscalar\n" + ARRAY + text(b"a") + b"\x86R", "is no NumPy type"),
    "an unknown type": (dtype(b"zz"), "of a type that NumPy has not"),
    "a long type": (b"cnumpy\ndtype\n" + text(b"f" * 40) + b"\x85R", "array of type 'object'"),
    "a type without a state": (dtype(b"f4") + b"Nb", "of a type that NumPy has not"),
    "a type of fields": (dtype(b"f4") + b"(K\x03U\x01<U\x01aNNtb", "array with fields"),
    "a type of a number": (b"cnumpy\ndtype\nK\x04\x85R", "gives 'numpy.dtype' other arguments"),
    "another class": (ARRAY.replace(b"cnumpy\nndarray\n", ORDERED), "holds 'collections.OrderedDict' as a value"),
    "an array without a state": (ARRAY + b"Nb", "form that NumPy does not write"),
    "a shape of texts": (array(b"U\x01a\x85", b"u1", b"U\x01a"), "form that NumPy does not write"),
    "a type that is a number": (ARRAY + b"(K\x01K\x01\x85K\x01\x89U\x01atb", "is no NumPy type, for 'numpy.ndarray'"),
    "an array of nothing": (array(b"K\x01\x85", b"u1", b"N"), "a value of kind 'none'"),
    "an array of a list": (array(b"K\x01\x85", b"u1", b"]"), "array of objects"),
    "a buffer of a shape of texts": (
        b"cnumpy.core.numeric\n_frombuffer\n(" + text(b"a") + dtype(b"u1") + b"U\x01a\x85U\x01CtR",
        "a shape that is none",
    ),
    "another encoding": (b"c_codecs\nencode\n" + text(b"a") + text(b"utf-8") + b"\x86R", "another encoding"),
    "bytes of something": (b"cbuiltins\nbytes\nK\x09\x85R", "gives 'builtins.bytes' other arguments"),
    "a call of a number": (b"K\x01)R", "calls an object of kind 'number'"),
    "a call with a list": (b"cbuiltins\nset\n]R", "calls an object of kind 'name'"),
    "a call of a class": (b"cnumpy\nndarray\n)R", "calls 'numpy.ndarray'"),
    "a state of a number": (b"K\x01Nb", "state of an object of kind 'number'"),
    "a name of numbers": (b"K\x01K\x02\x93", "a name that is no short text"),
    "a number filled like a list": (b"K\x01Na", "of kind 'number' like a list"),
    "a number filled like a dictionary": (b"K\x01NNs", "of kind 'number' like a dictionary"),
}
REFUSED_OF_TORCH = {
    "a long type": (b"cnumpy\ndtype\n" + text(b"f" * 40) + b"\x85R", "of a type that NumPy has not"),
    "a type without a state": (dtype(b"f4") + b"Nb", "of a type that NumPy has not"),
    "a dictionary's state": (ORDERED + b")RNb", "gives a dictionary a state that is none"),
    "a size of texts": (tensor(b"U\x01a\x85"), "a size that is none"),
    "a size of other length": (tensor(b"K\x01K\x02\x86"), "a size that is none"),
    "a size of fractions": (tensor(b"G" + struct.pack(">d", 1.5) + b"\x85"), "a size that is none"),
    "an offset below zero": (tensor(b"K\x01\x85", offset=b"J\xff\xff\xff\xff"), "a size that is none"),
    "more than the storage": (tensor(b"K\x05\x85"), "claims 5 numbers, and its storage has not that many"),
    "a call of a storage": (b"ctorch\nFloatStorage\n)R", "calls 'torch.FloatStorage'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_arrays_do_not_need(name):
    data, message = REFUSED[name]
    with pytest.raises(RefusedPickleError, match=message):
        scan_pickle(b"\x80\x02" + data + b".", ARRAYS)


@pytest.mark.parametrize("name", REFUSED_OF_TORCH)
def test_what_files_of_torch_do_not_need(name):
    data, message = REFUSED_OF_TORCH[name]
    with pytest.raises(RefusedPickleError, match=message):
        scan_pickle(b"\x80\x02" + data + b".", TORCH)


def test_a_whole_tensor_is_none_of_that():
    data = b"\x80\x02" + tensor(b"K\x02K\x02\x86", b"K\x02K\x01\x86") + b"."
    scan = scan_pickle(data, TORCH)
    assert scan.end == len(data) and scan.persistent_ids == [("storage", "torch FloatStorage", "0", "cpu", 4)]


@pytest.mark.parametrize("data", [b"U\x01a", b"N", b"K\x01"])
def test_objects_of_an_array_are_in_a_list(data):
    with pytest.raises(RefusedPickleError, match="form that NumPy does not write"):
        scan_pickle(b"\x80\x02" + array(b"K\x01\x85", b"O8", data) + b".", OBJECT_ARRAYS)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"(ibuiltins\nset\n.", set()),  # as Python 2 wrote instances
        (b"(cbuiltins\nset\n](K\x01K\x02eo.", {1, 2}),
        (b"c__builtin__\nbytearray\n" + text("é".encode()) + text(b"latin-1") + b"\x86R.", bytearray(b"\xe9")),
        (b"cbuiltins\nbytes\n)R.", b""),
        (b"I01\n.", True),
        (b"K\x01K\x02\x86" + b"0K\x03.", 3),
        (b"(K\x01K\x021K\x03.", 3),
        (b"K\x012\x86.", (1, 1)),
    ],
)
def test_older_forms_are_read(tmp_path, data, value):
    (tmp_path / "a.pkl").write_bytes(data)
    found = load_pickle(tmp_path / "a.pkl")
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("data", [b"(K\x01\x85\x86.", b"(\x86.", b"K\x01\x86.", b"}(K\x01u.", b"(K\x01o."])
def test_opcodes_that_reach_below_a_mark(data):
    with pytest.raises(PickleError, match="makes no sense|calls an object"):
        scan_pickle(data, ARRAYS)


def test_arrays_themselves_are_read(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02" + array(b"K\x03\x85", b"u1", b"U\x03\x01\x02\x03") + b".")
    assert np.asarray(load_pickle(tmp_path / "a.pkl")).tolist() == [1, 2, 3]
