"""Optimizer groups and names in a checkpoint that are no lists."""

import logging

import pytest
import torch

from pointrecon.tools.checkpoints.resume import load_optimizer
from pointrecon.tools.checkpoints.snapshot import check_versions
from pointrecon.utils.errors import InputError


@pytest.mark.parametrize("names", [5, [["weight"], 0.5], None, ["weight", "bias"]])
def test_names_that_are_no_lists(names):
    optimizer = torch.optim.AdamW(torch.nn.Linear(2, 1).parameters())
    content = {"optimizer": optimizer.state_dict(), "parameter_names": names}
    with pytest.raises(InputError, match="cannot resume"):
        load_optimizer(optimizer, content, [["weight", "bias"]], "a.pth")


@pytest.mark.parametrize("params", [5, None, "ab"])
def test_groups_that_are_no_lists(params):
    optimizer = torch.optim.AdamW(torch.nn.Linear(2, 1).parameters())
    state = optimizer.state_dict()
    state["param_groups"][0]["params"] = params
    with pytest.raises(InputError, match="cannot resume"):
        load_optimizer(optimizer, {"optimizer": state}, [["weight", "bias"]], "a.pth")


@pytest.mark.parametrize("saved", [5, 0.5, b"torch", None, ["torch"], {"torch": 5}, {"torch": torch.ones(2)}])
def test_versions_that_are_none_are_passed_over(saved, caplog):
    check_versions(saved, logging.getLogger("recon"))
    assert not caplog.records


def test_other_versions_are_told(caplog):
    with caplog.at_level("WARNING"):
        logger = logging.getLogger("test of versions")
        check_versions({"torch": "0.1"}, logger)
    assert "torch was 0.1" in caplog.text
