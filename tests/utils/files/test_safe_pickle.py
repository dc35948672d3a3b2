"""Untrusted pickles: arrays of all protocols come back, nothing else does, and no code runs."""

import collections
import os
import pickle

import numpy as np
import pytest

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.safe_pickle import load_npy_objects, load_pickle


class Hostile:
    """Unpickles as the call of a function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def dump(path, value, protocol=None):
    path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_and_containers_come_back(tmp_path, protocol):
    points = np.random.RandomState(0).randn(4, 3).astype(np.float32)
    value = {
        "train": [(points, 3, "night_stand"), (points[:, ::2], np.int64(4), b"raw")],
        "layouts": (points.T, np.asfortranarray(points), points.reshape(2, 2, 3).transpose(1, 0, 2), points[:0]),
        "types": [np.array([7], ">i2"), np.array(["ab", "c"]), np.array(True), np.float64(0.5), 1 + 2j],
        "sets": [{1, 2}, frozenset({3}), collections.OrderedDict(a=1), b"", bytearray(b"xy"), None],
    }
    loaded = load_pickle(dump(tmp_path / "a.pkl", value, protocol))
    assert loaded["train"][0][1:] == (3, "night_stand") and loaded["train"][1][1:] == (4, b"raw")
    for key in ("layouts", "types"):
        for given, got in zip(value[key], loaded[key], strict=True):
            np.testing.assert_array_equal(given, got)
            assert np.asarray(given).dtype.newbyteorder("=") == np.asarray(got).dtype.newbyteorder("=")
    assert loaded["sets"] == value["sets"]
    np.asarray(loaded["train"][0][0])[0] = 0  # a data set may normalise in place


def test_python_2_pickle(tmp_path):
    """As Python 2 and an old NumPy wrote np.array([1.5, -2], 'f4'): text for bytes, and older module names."""
    data = np.array([1.5, -2.0], "<f4").tobytes()
    text = b"\x80\x02]q\x00(cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    text += (
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    text += b"\x89U\x08" + data + b"tbU\x05chaire."
    array, name = load_pickle(dump(tmp_path / "a.pkl", text))
    assert array.tolist() == [1.5, -2.0] and array.dtype == np.float32 and name == "chair"


@pytest.mark.parametrize("protocol", range(6))
def test_hostile_pickle_does_not_run(tmp_path, protocol):
    target = tmp_path / "ran"
    path = dump(tmp_path / "bad.pkl", [np.zeros(3), Hostile(os.system, f"touch {target}")], protocol)
    with pytest.raises(InputError, match=r"bad\.pkl.*asks for '(posix|nt)\.system'"):
        load_pickle(path)
    assert not target.exists()
    pickle.loads(path.read_bytes())
    assert target.exists(), "the file would do nothing anyway"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Hostile(eval, "1"), r"_*builtins?_*\.eval"),
        (Hostile(getattr, 1, "real"), r"_*builtins?_*\.getattr"),
        (Hostile(np.load, "x"), r"load"),
        (b"cbuiltins\neval\n.", r"builtins\.eval"),
        (b"cnumpy\nndarray.tofile\n.", r"numpy\.ndarray\.tofile"),
        (np.array([1, "a"], dtype=object), "type 'object'"),
        (np.zeros(2, dtype=[("x", "f4")]), "array of type"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "array of type"),
        (InputError("a class of ours"), "InputError"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_everything_else_is_refused_by_name(tmp_path, value, message, protocol):
    with pytest.raises(InputError, match=rf"a\.pkl' is refused: .*{message}"):
        load_pickle(dump(tmp_path / "a.pkl", value, protocol))


def test_array_with_forged_state_is_refused(tmp_path):
    """More elements than bytes, and a dtype whose state claims that its numbers are pointers."""
    good = pickle.dumps(np.arange(4, dtype="<i8"), protocol=2)
    with pytest.raises(InputError, match="not a complete pickle"):
        load_pickle(dump(tmp_path / "a.pkl", good.replace(b"K\x04\x85", b"K\x7f\x85")))
    flags = good.replace(b"J\xff\xff\xff\xffK\x00t", b"J\xff\xff\xff\xffK\x3ft")
    assert flags != good
    assert not load_pickle(dump(tmp_path / "a.pkl", flags)).dtype.hasobject


def test_truncated_pickle_is_refused(tmp_path):
    data = pickle.dumps([np.zeros((50, 3)), "chair"])
    for size in (0, 1, 10, 200, len(data) - 1):
        with pytest.raises(InputError, match=rf"a\.pkl' \({size:,} bytes\) is not a complete pickle"):
            load_pickle(dump(tmp_path / "a.pkl", data[:size]))
    with pytest.raises(InputError, match="not a complete pickle"):
        load_pickle(dump(tmp_path / "a.pkl", b"version https://git-lfs.github.com/spec/v1\n"))


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_pickle(tmp_path / "a.pkl")


def save_objects(path, value, shape=()):
    array = np.empty(shape, object)
    array[...] = value
    np.save(path, array, allow_pickle=True)
    return path


def test_npy_files_of_objects(tmp_path):
    points = np.random.RandomState(0).randn(4, 3).astype(np.float16)
    inner = np.empty((), object)
    inner[()] = {"original": points}
    value = {"xyz": points, "text": ["a", "b"], "feat": inner, "many": np.array([points, {"k": 1}, None], object)}
    path = save_objects(tmp_path / "a.npy", value)
    for found in (load_npy_objects(path), load_npy_objects(path, path.read_bytes())):
        assert type(found["xyz"]) is np.ndarray and found["text"] == ["a", "b"]
        np.testing.assert_array_equal(found["feat"]["original"], points)
        assert type(found["many"]) is list and found["many"][1:] == [{"k": 1}, None]
    several = load_npy_objects(save_objects(tmp_path / "b.npy", [{"xyz": points}, {"xyz": points * 2}], (2,)))
    np.testing.assert_array_equal(several[1]["xyz"], points * 2)
    np.save(tmp_path / "c.npy", points.T)
    np.testing.assert_array_equal(load_npy_objects(tmp_path / "c.npy"), points.T)


def test_npy_files_that_are_refused(tmp_path):
    with pytest.raises(InputError, match="system"):
        load_npy_objects(save_objects(tmp_path / "a.npy", Hostile(os.system, f"touch {tmp_path / 'ran'}")))
    assert not (tmp_path / "ran").exists()
    path = save_objects(tmp_path / "b.npy", [{"a": 1}, {"b": 2}], (2,))
    data = path.read_bytes()
    start = data.index(b"\x80\x04") if b"\x80\x04" in data else data.index(b"\x80\x03")
    assert data[start:].count(b"K\x02\x85") == 1
    for wrong in (
        data[:-9],
        data[: start + 4],
        b"",
        data[:start] + data[start:].replace(b"K\x02\x85", b"K\x7f\x85"),  # claims 127 objects
        data[:start] + data[start:].replace(b"O8", b"f8"),  # numbers from a list
    ):
        with pytest.raises(InputError, match=r"b\.npy"):
            load_npy_objects(path, wrong)
    empty = tmp_path / "empty.npy"
    empty.write_bytes(b"")
    numbers = tmp_path / "numbers.npy"
    np.save(numbers, np.eye(3))
    for wrong, data, message in (
        (empty, None, r"empty\.npy' \(0 bytes\) is not a complete .npy file"),
        (numbers, numbers.read_bytes()[:-8], r"claims float64 values of shape \(3, 3\) and has 64 bytes"),
        (numbers, numbers.read_bytes().replace(b"NUMPY\x01", b"NUMPY\x02"), r"format \(2, 0\) is not known"),
    ):
        with pytest.raises(InputError, match=message):
            load_npy_objects(wrong, data)
    shared = {"a": np.zeros(1000)}
    for _ in range(8):
        shared = np.array([shared] * 10, object)
    with pytest.raises(InputError, match="not a complete"):
        load_npy_objects(save_objects(tmp_path / "c.npy", [shared], (1,)))
    with pytest.raises(InputError, match="shape"):
        load_npy_objects(save_objects(tmp_path / "d.npy", {"a": 1}, (2, 2)))
