"""Files of weights: what comes back, and what is refused."""

import argparse
import collections
import io
import os
import pathlib
import pickle
import stat
import zipfile

import numpy as np
import pytest
import torch

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.weights import WeightsFile, read_weights, read_weights_file, write_safetensors


class Hostile:
    def __reduce__(self):
        return print, ("executed",)


def test_metrics_of_numpy_come_back_as_numbers(tmp_path):
    metrics = {"iou": np.float64(0.25), "epoch": np.int32(-7), "big": np.array(3, ">i4")[()], "best": np.bool_(True)}
    torch.save({"weights": torch.arange(3), **metrics}, tmp_path / "a.pth")
    content = read_weights_file(tmp_path / "a.pth")
    assert torch.equal(content.pop("weights"), torch.arange(3))
    assert content == {"iou": 0.25, "epoch": -7, "big": 3, "best": True}
    assert all(type(value) in (float, int, bool) for value in content.values())


@pytest.mark.parametrize("value", [Hostile(), np.array([Hostile()], dtype=object)])
def test_nothing_else_is_read(tmp_path, value, capsys):
    torch.save({"value": value}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="a.pth"):
        read_weights_file(tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(value))
    with pytest.raises(InputError, match="b.pth"):
        read_weights_file(tmp_path / "b.pth")
    assert "executed" not in capsys.readouterr().out


class Mapping(dict):
    """As EasyDict: a dictionary with attributes."""


def make_mapping():
    found = Mapping(lr=0.1)
    found.path = "x"
    return found


OBJECTS = {
    "Namespace": (argparse.Namespace(lr=0.1, betas=(0.9, 0.99)), "args (argparse.Namespace)"),
    "array": (np.arange(12.0).reshape(3, 4), "args (numpy._core.multiarray._reconstruct)"),
    "array of objects": (np.array([None, "a"], dtype=object), "args (numpy._core.multiarray._reconstruct)"),
    "array of records": (np.zeros(2, [("x", "f4")]), "args (numpy._core.multiarray._reconstruct)"),
    "mapping": (make_mapping(), f"args ({__name__}.Mapping)"),
    "default dict": (collections.defaultdict(list, a=[1]), "args (collections.defaultdict)"),
    "path": (pathlib.PurePosixPath("a/b"), "args (pathlib.PurePosixPath)"),
    "time": (np.datetime64("2020-01-01"), "args (NumPy scalar of type M8)"),
    "a type of torch": (torch.FloatStorage, "args (storage type of torch.float32)"),
    "in a list": ([1, [argparse.Namespace(lr=1)]], "args (argparse.Namespace)"),
}


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("name", OBJECTS)
def test_what_other_programs_keep_beside_the_weights_is_left_out(tmp_path, name, is_zip):
    value, said = OBJECTS[name]
    content = {"model": {"w": torch.arange(3)}, "args": value, "deep": {"x": value, "epoch": 3}, "epoch": 7}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    found = read_weights(tmp_path / "a.pth")
    assert torch.equal(found.content.pop("model")["w"], torch.arange(3))
    assert found.content == {"deep": {"epoch": 3}, "epoch": 7}
    assert found.left_out == (said, said.replace("args", "deep.x"))


def test_text_scalars_and_counters_come_back(tmp_path):
    torch.save({"a": np.str_("text"), "b": collections.Counter("aab")}, tmp_path / "a.pth")
    assert read_weights(tmp_path / "a.pth") == WeightsFile({"a": "text", "b": {"a": 2, "b": 1}})


def test_a_file_that_is_nothing_but_an_object_is_refused(tmp_path):
    torch.save(argparse.Namespace(a=1), tmp_path / "a.pth")
    with pytest.raises(InputError, match="it asks for 'argparse.Namespace'"):
        read_weights(tmp_path / "a.pth")


def test_dictionaries_have_no_attributes_but_those_of_torch(tmp_path):
    state = torch.nn.Linear(1, 1).state_dict()
    spoilt = collections.OrderedDict(a=torch.ones(1))
    spoilt.values, spoilt.get, spoilt._metadata = 5, None, "text"
    torch.save({"state": state, "spoilt": spoilt}, tmp_path / "a.pth")
    found = read_weights(tmp_path / "a.pth").content
    assert found["state"]._metadata == state._metadata and list(found["state"].items())
    assert list(found["spoilt"].values()) and not hasattr(found["spoilt"], "_metadata")


def test_many_objects_are_not_all_named(tmp_path):
    torch.save({f"a{row}": argparse.Namespace() for row in range(30)} | {"w": torch.ones(1)}, tmp_path / "a.pth")
    left = read_weights(tmp_path / "a.pth").left_out
    assert len(left) == 21 and left[-1] == "and 10 more"


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.replace(b"K\x04\x85", b"J\0\0\0\x10\x85"),  # more numbers than its storage
        lambda data: data.replace(b"K\x00K\x04\x85", b"K\x01K\x04\x85"),  # the same, from an offset
        lambda data: data.replace(b"K\x01\x85", b"K\x02\x85"),  # the same, in larger steps
        lambda data: data.replace(b"K\x04\x85", b"J\xff\xff\xff\xff\x85"),
    ],
)
def test_a_tensor_lies_within_its_storage(tmp_path, spoil, is_zip):
    torch.save({"a": torch.arange(4.0)}, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    data = (tmp_path / "a.pth").read_bytes()
    if is_zip:
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(tmp_path / "a.pth", "w") as new:
            changed = 0
            for name in old.namelist():
                content = old.read(name)
                changed += spoil(content) != content and name.endswith(".pkl")
                new.writestr(name, spoil(content) if name.endswith(".pkl") else content)
        assert changed
    else:
        assert spoil(data) != data
        (tmp_path / "a.pth").write_bytes(spoil(data))
    with pytest.raises(InputError, match="a tensor"):
        read_weights(tmp_path / "a.pth")


def test_safetensors_there_and_back(tmp_path):
    path, both = tmp_path / "a.safetensors", torch.randn(4, 3)
    state = {"whole": both, "view": both.T, "count": torch.tensor(3)}
    write_safetensors(state, {"config": {"model": {"depth": 2}}, "epoch": 5}, path)
    content = read_weights_file(path)
    assert content["config"] == {"model": {"depth": 2}} and content["epoch"] == 5
    assert content["base_model"].keys() == state.keys()
    assert all(torch.equal(content["base_model"][key], state[key]) for key in state)


def test_notes_of_tensors_come_back(tmp_path):
    path, means = tmp_path / "a.safetensors", {"image": torch.arange(3.0), "text": torch.ones(2)}
    write_safetensors({"w": torch.ones(1)}, {"feature_means": means, "mean": torch.zeros(2), "empty": {}}, path)
    content = read_weights_file(path)
    assert set(content["base_model"]) == {"w"} and content["empty"] == {} and content["mean"].tolist() == [0, 0]
    assert {name: value.tolist() for name, value in content["feature_means"].items()} == {
        "image": [0, 1, 2],
        "text": [1, 1],
    }


def test_metadata_of_other_programs_is_kept_as_text(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors", {"format": "pt", "note": "by hand"})
    assert read_weights_file(tmp_path / "a.safetensors")["note"] == "by hand"


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_damaged_files(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(InputError, match="does not exist"):
        read_weights_file(path)
    for content in (b"", b"half a file"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=name):
            read_weights_file(path)


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_safetensors({"a": torch.ones(1)}, {"config": object()}, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


def test_files_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_safetensors({"a": torch.ones(1)}, {}, tmp_path / "a.safetensors")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.safetensors").stat().st_mode) == 0o640


def test_a_header_that_becomes_objects_without_end_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes((40 << 20).to_bytes(8, "little") + b"{" + b" " * (40 << 20))
    with pytest.raises(InputError, match="is no safetensors file"):
        read_weights(path)
