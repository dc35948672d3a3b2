"""What is fuzzed of pickles: arrays and containers in every protocol, and those inside files of torch."""

import collections
import functools
import io
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pointrecon.utils.files import safe_pickle
from pointrecon.utils.files.checks.torch_archive import LEGACY_START
from pointrecon.utils.files.safe_pickle import load_npy_objects, load_pickle
from pointrecon.utils.files.weights import read_weights
from tests.fuzzing.forms import Form, WrongResult
from tests.fuzzing.mutations import spoil_bytes
from tests.fuzzing.opcodes import spoil_opcodes

PLAIN = (int, float, complex, str, bytes, bytearray, bool, type(None), np.generic, torch.Tensor)
PLAIN += (torch.Size, torch.device, torch.dtype)
_STAND_INS = {name: getattr(value, "_function", value) for name, value in safe_pickle._STAND_INS.items()}


def _content() -> dict[Any, Any]:
    points = np.random.RandomState(0).randn(4, 3).astype(np.float32)
    return {
        "train": [(points, 3, "chair"), (points[:, ::2], np.int64(4), b"raw")],
        "layouts": (points.T, np.asfortranarray(points), points[:0]),
        "types": [np.array([7], ">i2"), np.array(["ab", "c"]), np.float64(0.5), 1 + 2j, 2**70],
        "sets": [{1, 2}, frozenset({3}), collections.OrderedDict(a=1), b"", bytearray(b"xy"), None],
        (1, "key"): {"a": {"b": [True, -5, 1.5]}},
    }


def write_pickle(folder: Path, protocol: int) -> None:
    """A pickle of everything that is read."""
    (folder / "a.pkl").write_bytes(pickle.dumps(_content(), protocol))


def write_npy(folder: Path) -> None:
    """A .npy file of objects, with arrays of objects inside."""
    array = np.empty(2, object)
    array[0], array[1] = _content(), np.array([np.ones(3), "a", None], object)
    np.save(folder / "a.npy", array, allow_pickle=True)


def write_torch(folder: Path, is_zip: bool) -> None:
    """A file of torch with tensors, scalars, and objects of other programs beside them."""
    content = {
        "base_model": collections.OrderedDict(a=torch.arange(6.0).view(2, 3), b=torch.ones(3, dtype=torch.int64)),
        "view": torch.arange(12)[2:8:2],
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "metrics": {"acc": np.float64(0.5), "n": np.int32(3), "size": torch.Size([2, 3]), "kind": torch.float16},
        "counts": collections.Counter("aab"),
        "set": {1, 2},
        "array": np.arange(3),
        "args": collections.defaultdict(list, a=[1]),
    }
    torch.save(content, folder / "a.pth", _use_new_zipfile_serialization=is_zip)


def spoil_pickle(path: Path, rng: random.Random) -> None:
    """Changes opcodes, seldom bytes."""
    data = path.read_bytes()
    spoil = spoil_bytes if rng.random() < 0.1 else spoil_opcodes
    if path.suffix == ".npy":
        start = data.index(b"\n") + 1
        path.write_bytes(data[:start] + spoil(data[start:], rng))
    elif path.suffix == ".pkl":
        path.write_bytes(spoil(data, rng))
    elif data.startswith(b"PK"):
        target = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(target, "w") as new:
            for name in old.namelist():
                new.writestr(name, spoil(old.read(name), rng) if name.endswith("data.pkl") else old.read(name))
        path.write_bytes(target.getvalue())
    else:
        _spoil_legacy(path, data, rng)


def _spoil_legacy(path: Path, data: bytes, rng: random.Random) -> None:
    """Changes one of the pickles that follow each other; the storages stay behind them."""
    ends = [len(LEGACY_START)]
    for _ in range(4):
        file = io.BytesIO(data[ends[-1] :])
        for opcode, _, position in pickle_opcodes(file):
            if opcode == "STOP":
                ends.append(ends[-1] + position + 1)
                break
    place = rng.choice((1, 2, 3, 3, 3, 3, 4))
    start, end = ends[place - 1], ends[place]
    path.write_bytes(data[:start] + spoil_opcodes(data[start:end], rng) + data[end:])


def pickle_opcodes(file: io.BytesIO) -> Any:
    """(name, argument, position) of the opcodes of the next pickle."""
    import pickletools

    return ((opcode.name, argument, position) for opcode, argument, position in pickletools.genops(file))


def read_pickle(folder: Path) -> None:
    """Loads the pickle; what comes of it is of plain types, and no stand-in has changed."""
    content = load_pickle(folder / "a.pkl")
    _check_plain(content)
    now = {name: getattr(value, "_function", value) for name, value in safe_pickle._STAND_INS.items()}
    if now != _STAND_INS or safe_pickle._encode.__defaults__ is not None:
        raise WrongResult("a stand-in was changed")


def read_npy(folder: Path) -> None:
    """The same of a .npy file of objects."""
    _check_plain(load_npy_objects(folder / "a.npy"))


def read_torch(folder: Path) -> None:
    """Reads the file; what comes of it is of plain types, and nothing of other programs."""
    _check_plain(read_weights(folder / "a.pth").content)


def _check_plain(content: Any) -> None:
    todo, seen = [content], set()
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            todo += [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple, set, frozenset)) and not isinstance(value, torch.Size):
            todo += value
        elif isinstance(value, np.ndarray):
            if value.dtype.kind not in "biufcSU":
                raise WrongResult(f"an array of type {value.dtype}")
            value.sum() if value.dtype.kind in "biufc" else value.tobytes()
        elif isinstance(value, torch.Tensor):
            value.clone()
        elif not isinstance(value, PLAIN) and not isinstance(value, (safe_pickle._StandIn, safe_pickle._Dtype, type)):
            raise WrongResult(f"an object of type {type(value).__name__}")


FORMS = (
    *(
        Form(f"protocol {protocol}", functools.partial(write_pickle, protocol=protocol), read_pickle, spoil_pickle)
        for protocol in range(6)
    ),
    Form("objects in .npy", write_npy, read_npy, spoil_pickle),
    Form("torch", functools.partial(write_torch, is_zip=True), read_torch, spoil_pickle),
    Form("torch, legacy", functools.partial(write_torch, is_zip=False), read_torch, spoil_pickle),
)
