"""Files that are made to do harm: each is refused by name, without running anything, filling the memory or hanging."""

import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from pointrecon.datasets.checks import check_plain_names, read_list
from pointrecon.datasets.modelnet.files import read_text_cloud
from pointrecon.datasets.sets.shapenet import read_cloud, read_picture
from pointrecon.datasets.shapenetpart.files import read_object
from pointrecon.tools.checkpoints.checkpoint import read_checkpoint
from pointrecon.utils.config import load_config
from pointrecon.utils.errors import InputError
from pointrecon.utils.files import safe_pickle
from pointrecon.utils.files.io import read_json
from pointrecon.utils.files.safe_pickle import load_pickle


class Call:
    """Unpickles as the call of a function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


# Configs.
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40))
MERGES = "m0: &m0 {k: 1}\n" + "".join(f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9)}]}}\n" for i in range(1, 40))
CONFIGS = {
    "aliases that multiply": (BOMB, "written out"),
    "merges that multiply": (MERGES, "not valid YAML"),
    "itself": ("data: &a {options: {x: *a}}", "contains itself"),
    "deep": ("a: " + "[" * 5000, "not valid YAML"),
    "Python objects": ("seed: !!python/object/apply:os.system ['touch ran']", "not valid YAML"),
    "large": ("#" * 300_000, "300,000 bytes"),
    "digits": (f"seed: {'9' * 10_000}", "not valid YAML"),
    "a number beyond floats": (f"seed: {'9' * 400}", "whole number"),
    "attributes": ("data: {options: {__class__: 1}}", "'__class__' is a name that Python needs"),
    "methods": ("data: {options: {items: 1}}", "'items' is a name that Python needs"),
    "bytes": ("data: {options: {a: !!binary YQ==}}", "type bytes"),
    "a base with a zero byte": ('_base_: "a\\0b"', "there is no file"),
    "a base with a long name": (f"_base_: {'a' * 5000}", "there is no file"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_config(tmp_path, name, assert_refused):
    text, message = CONFIGS[name]
    (tmp_path / "leaf.yaml").write_text(text)
    assert_refused(tmp_path / "leaf.yaml", load_config, message)
    assert not Path("ran").exists()


def test_bases_that_multiply(tmp_path, assert_refused):
    for i in range(18):
        (tmp_path / f"{i}.yaml").write_text(f"_base_: [{i + 1}.yaml, {i + 1}.yaml]")
    (tmp_path / "18.yaml").write_text("")
    assert_refused(tmp_path / "0.yaml", load_config, "more than 200 bases")


# Pickles.
def tuples(depth):
    value = ()
    for _ in range(depth):
        value = (value, value)
    return value


def lists(depth):
    value = [1, 2, 3]
    for _ in range(depth):
        value = [value] * 10
    return value


def nested(width=10, depth=40):
    """One list that holds one list ten times, which holds one list ten times, and so on, in a few hundred bytes."""
    lists = b"]q\x64"
    for index in range(100, 99 + depth):
        lists += b"0]q" + bytes([index + 1]) + b"(" + (b"h" + bytes([index])) * width + b"e"
    return lists


def many_calls():
    """One long text, and a thousand copies of it as bytes."""
    return (
        b"\x80\x04X" + struct.pack("<I", 1 << 20) + b"x" * (1 << 20) + b"\x94]("
        + b"c_codecs\nencode\nh\x00X\x06\0\0\0latin1\x86R" * 1000 + b"e."
    )  # fmt: skip


def deep_tuple(depth):
    return b"\x80\x04cbuiltins\nset\n(" + b")" + b"\x85" * depth + b"l\x85R."


def colliding():
    """Numbers whose hashes are all equal."""
    numbers = [(index * ((1 << 61) - 1)).to_bytes(12, "little") for index in range(1, 60_000)]
    return b"\x80\x04}(" + b"".join(b"\x8a\x0c" + number + b"N" for number in numbers) + b"u."


ARRAY = pickle.dumps(np.arange(4.0), 2)[:-1]
DEFAULTS = b"X\x0c\0\0\0__defaults__"
PICKLES = {
    "dtype of lists": (b"\x80\x04cnumpy\ndtype\n" + nested() + b"\x85R.", "gives 'numpy.dtype' other arguments"),
    "encoding of lists": (b"\x80\x04c_codecs\nencode\nK\x01" + nested() + b"\x86R.", "'_codecs.encode' other"),
    "another encoding": (b"\x80\x04c_codecs\nencode\nX\1\0\0\0aX\4\0\0\0idna\x86R.", "another encoding"),
    "bytearray of lists": (b"\x80\x04cbuiltins\nbytearray\n" + nested() + b"\x85R.", "'builtins.bytearray' other"),
    "complex of lists": (b"\x80\x04cbuiltins\ncomplex\n" + nested() + b"K\x00\x86R.", "'builtins.complex' other"),
    "shape of lists": (
        b"\x80\x04cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n)U\x01b\x87R(K\x01" + nested() + b"NNNtb.",
        "of a form that NumPy does not write",
    ),
    "place in an array of lists": (ARRAY + nested() + b"K\x01s.", "fills an object of kind 'object'"),
    "changed stand-in": (b"\x80\x04c_codecs\nencode\n}" + DEFAULTS + b"N\x85sb.", "changes the state"),
    "changed slots of a stand-in": (b"\x80\x04c_codecs\nencode\n}}" + DEFAULTS + b"N\x85s\x86b.", "changes the state"),
    "changed class": (b"\x80\x04cbuiltins\nset\n}" + DEFAULTS + b"N\x85sb.", "changes the state"),
    "many copies": (many_calls(), "builds more than"),
    "a tuple too deep to hash": (deep_tuple(50_000), "key of tuples"),
    "a deep tuple as key": (b"\x80\x04})" + b"\x85" * 50_000 + b"K\x01s.", "key of tuples"),
    "tuples hashed often": (
        b"\x80\x04cbuiltins\nset\n(" + pickle.dumps(tuples(9), 4)[11:-1] + b"\x94" + b"h\x63" * 20_000 + b"l\x85R.",
        "makes no sense",
    ),
    "colliding keys": (colliding(), "odd keys"),
    "steps": (b"\x80\x04" + b"N0" * 600_000 + b"N.", "steps"),
    "sets": (b"\x80\x04(" + b"\x8f" * 1_200_000 + b"l.", "steps"),
    "a frame": (b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"N.", "1,099,511,627,776 bytes"),
    "a number": (b"I" + b"9" * 400_000 + b"\n.", "line without end"),
    "a reference": (b"\x80\x04K\x01Q.", "outside itself"),
    "an extension": (b"\x80\x04\x82\x01.", "opcode that such files do not need"),
    "a program": (pickle.dumps(Call(os.system, "touch ran")), "asks for"),
    "a length": (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"x.", "1,099,511,627,776 bytes"),
    "an index": (b"\x80\x04K\x01r" + struct.pack("<I", 1 << 31) + b".", "numbers an object 2,147,483,648"),
    "an index in words": (b"I1\np3000000000\n.", "numbers an object"),
    "a key": (b"\x80\x04}" + pickle.dumps(tuples(12))[11:-1] + b"K\x01s.", "key of tuples"),
    "tuples": (pickle.dumps(tuples(60)), "tuples in tuples"),
    "lists": (pickle.dumps([lists(60), 0]), "written out"),
    "zeros": (pickle.dumps(Call(bytearray, 10**11)), "gives 'builtins.bytearray' other arguments"),
    "itself": (b"\x80\x04]\x94h\x00a.", "contains itself"),
}


@pytest.mark.parametrize("name", PICKLES)
def test_pickle(tmp_path, name, assert_refused):
    data, message = PICKLES[name]
    (tmp_path / "a.pkl").write_bytes(data)
    assert_refused(tmp_path / "a.pkl", load_pickle, message)
    assert not Path("ran").exists()


def test_no_stand_in_can_be_changed():
    for stand_in in safe_pickle._STAND_INS.values():
        for name in ("__defaults__", "__call__", "_function", "anything"):
            with pytest.raises((AttributeError, TypeError)):
                setattr(stand_in, name, None)
            with pytest.raises((AttributeError, TypeError)):
                delattr(stand_in, name)


# Arrays, texts, pictures.
def npy(shape, descr="<f4", body=b""):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npy("(1000000000000, 3)"), "claims 12,000,000,000,000 bytes"),
        (npy("(-1, 3)"), "shape"),
        (npy("(8, 3)", "|O", pickle.dumps(Call(os.system, "touch ran"))), "object"),
        (npy("__import__('os').system('touch ran')"), "cannot be read"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "cannot be read"),
        (pickle.dumps(Call(os.system, "touch ran")), "cannot be read"),
    ],
)
def test_array(tmp_path, data, message, assert_refused):
    (tmp_path / "a.npy").write_bytes(data)
    assert_refused(tmp_path / "a.npy", lambda path: read_cloud(path, 8), message)
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "read", [read_text_cloud, lambda path: read_object(path, 0), lambda path: read_list(path, ""), read_json]
)
def test_gigabytes_of_one_line(tmp_path, read, assert_refused):
    with open(tmp_path / "a.txt", "wb") as file:
        file.truncate(3 << 30)  # takes no room on the disk
    assert_refused(tmp_path / "a.txt", read, "bytes")


@pytest.mark.parametrize("text", ["[" * 200_000, "9" * 200_000, '{"a":' * 100_000])
def test_json(tmp_path, text, assert_refused):
    (tmp_path / "a.json").write_text(text)
    assert_refused(tmp_path / "a.json", read_json, "not valid JSON")


def test_picture(tmp_path, assert_refused):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10_000_000)))
    (tmp_path / "a.png").write_bytes(data + chunk(b"IEND", b""))
    assert_refused(tmp_path / "a.png", read_picture, "2500000000 pixels")
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    assert_refused(tmp_path / "a.png", read_picture, "UnidentifiedImageError")


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "..", "a\\b", "a\0b", "a" * 300])
def test_names_that_lead_elsewhere(name):
    with pytest.raises(InputError, match=r"list\.txt' has the name"):
        check_plain_names(["good", name], Path("list.txt"))


# Checkpoints.
def save(path, value):
    torch.save({"base_model": {"a": torch.ones(3)}, "x": value}, path)


def rewrite(path, change, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as old, zipfile.ZipFile(path, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))


def inflate(path):
    save(path, torch.zeros(1 << 22))
    rewrite(path, lambda name, data: data, zipfile.ZIP_DEFLATED)


def overrun(path):
    save(path, torch.arange(4.0))
    # The tensor and its storage claim 268 million numbers instead of 4.
    rewrite(path, lambda name, data: data.replace(b"K\x04t", b"J\0\0\0\x10t").replace(b"K\x04\x85", b"J\0\0\0\x10\x85"))


def flip(path):
    save(path, torch.full((1000,), 1.5))
    data = bytearray(path.read_bytes())
    data[data.find(np.full(1000, 1.5, "f4").tobytes()) + 3] ^= 0x40
    path.write_bytes(data)


CHECKPOINTS = {
    "a program": (lambda path: save(path, Call(os.system, "touch ran")), "asks for"),
    "zeros": (lambda path: save(path, Call(bytearray, 10**11)), "builtin"),
    "deflated": (inflate, "is compressed"),
    "more than its record": (overrun, "has not that many"),
    "one number as a trillion": (lambda path: save(path, torch.zeros(1).expand(10**12)), "written out"),
    "sparse": (lambda path: save(path, torch.sparse_coo_tensor([[0]], [1.0], (10**12,))), "asks for"),
    "a flipped bit": (flip, "does not match its checksum"),
    "tuples": (lambda path: save(path, tuples(60)), "tuples in tuples"),
    "lists": (lambda path: save(path, lists(60)), "written out"),
    "a program of torch": (lambda path: torch.jit.save(torch.jit.script(torch.nn.ReLU()), path), "not weights"),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
@pytest.mark.filterwarnings("ignore")
def test_checkpoint(tmp_path, name, assert_refused):
    write, message = CHECKPOINTS[name]
    write(tmp_path / "a.pth")
    assert_refused(tmp_path / "a.pth", read_checkpoint, message)
    assert not Path("ran").exists()


def safetensors(header, length=None):
    data = json.dumps(header).encode()
    return struct.pack("<Q", len(data) if length is None else length) + data


@pytest.mark.parametrize(
    "data",
    [
        safetensors({}, 1 << 62),
        safetensors({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}),
        safetensors({"a": {"dtype": "F32", "shape": [3], "data_offsets": [-12, 0]}}),
    ],
)
def test_safetensors(tmp_path, data, assert_refused):
    (tmp_path / "a.safetensors").write_bytes(data)
    assert_refused(tmp_path / "a.safetensors", read_checkpoint, "is no safetensors file")
