"""What torch saves passes, in both of its formats; what it would never save does not. See also test_hostile.py."""

import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from pointrecon.utils.files.checks.torch_archive import TorchFileError, check_torch_file

CONTENT = {
    "base_model": {"w": torch.randn(3, 2), "half": torch.ones(5, dtype=torch.float16), "n": torch.tensor(3)},
    "tied": nn.Parameter(torch.ones(2)),
    "view": torch.arange(10)[2:4],
    "dtype": torch.bfloat16,
    "empty": torch.empty(0),
    "metrics": {"acc": np.float64(0.5), "names": ["a"], "size": torch.Size([1]), "device": torch.device("cpu")},
}


@pytest.mark.parametrize("is_zip", [True, False])
def test_what_torch_saves_passes(tmp_path, is_zip):
    optimizer = torch.optim.AdamW([nn.Parameter(torch.ones(3))])
    content = {**CONTENT, "optimizer": optimizer.state_dict(), "model": nn.Linear(2, 3).state_dict()}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    check_torch_file(tmp_path / "a.pth")


@pytest.mark.parametrize("is_zip", [True, False])
def test_truncated_file_is_refused(tmp_path, is_zip):
    torch.save(CONTENT, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    data = (tmp_path / "a.pth").read_bytes()
    for end in (0, 10, len(data) // 2, len(data) - 20):
        (tmp_path / "a.pth").write_bytes(data[:end])
        with pytest.raises(TorchFileError):
            check_torch_file(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({"a/data.pkl": b"N.", "b/data.pkl": b"N."}, "has not one 'data.pkl'"),
        ({"a/other": b"N."}, "has not one 'data.pkl'"),
        ({"a/data.pkl": b"N.", "a/constants.pkl": b"N."}, "is a program"),
        ({"a/data.pkl": b"K\x01Q."}, "a tensor of a kind that is not known here"),
        ({"a/data.pkl": b"(K\x01K\x02K\x03K\x04K\x05tQ."}, "a tensor of a kind that is not known here"),
    ],
)
def test_archives_of_other_records_are_refused(tmp_path, records, message):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        for name, data in records.items():
            archive.writestr(name, data)
    with pytest.raises(TorchFileError, match=message):
        check_torch_file(tmp_path / "a.pth")


@pytest.mark.parametrize("value", [torch.zeros(1, device="meta"), torch.eye(2).to_sparse(), nn.Linear(1, 1)])
@pytest.mark.parametrize("is_zip", [True, False])
def test_other_types_are_refused(tmp_path, value, is_zip):
    torch.save({"a": value}, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    with pytest.raises(TorchFileError, match="it asks for|kind that is not known"):
        check_torch_file(tmp_path / "a.pth")
