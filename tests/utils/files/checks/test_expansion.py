"""Sizes of values that share parts."""

import numpy as np
import pytest
import torch

from pointrecon.utils.files.checks.expansion import ExpansionError, check_expansion


def test_sharing_counts_each_time():
    part = list(range(10))
    check_expansion([part] * 10, 1000)
    with pytest.raises(ExpansionError, match="1,000 bytes"):
        check_expansion([part] * 20, 1000)
    with pytest.raises(ExpansionError):
        check_expansion({"a": {"b": "x" * 2000}}, 1000)


def test_many_levels_are_measured_at_once():
    value = [0]
    for _ in range(50):
        value = [value, value]
    with pytest.raises(ExpansionError, match="written out"):
        check_expansion(value, 1 << 20)


@pytest.mark.parametrize("value", [np.zeros(1000), torch.zeros(1).expand(10**9), 1 << 8000, b"x" * 1000])
def test_leaves_count(value):
    with pytest.raises(ExpansionError):
        check_expansion((value,), 900)


def test_depth_and_circles():
    value = []
    value.append(value)
    with pytest.raises(ExpansionError, match="contains itself"):
        check_expansion(value, 1000)
    check_expansion([[[1]]], 1000, max_depth=3)
    with pytest.raises(ExpansionError, match="too deep"):
        check_expansion([[[1]]], 1000, max_depth=2)
