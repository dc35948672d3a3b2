"""Shapes that the drop-in packages are given."""

import pytest
import torch

from pointrecon.extensions.dropin import check_clouds, check_count, check_index, check_not_empty, check_shapes

CLOUD = torch.zeros(2, 5, 3)


def test_sizes_of_the_letters():
    assert check_shapes("f", xyz=(CLOUD, "B N 3"), idx=(torch.zeros(2, 7), "B S")) == {"B": 2, "N": 5, "S": 7}


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"xyz": (CLOUD[0], "B N 3")}, r"^f: xyz must have shape \(B, N, 3\), got \(5, 3\)$"),
        ({"xyz": (CLOUD[..., :2], "B N 3")}, r"xyz must have shape \(B, N, 3\), got \(2, 5, 2\)"),
        (
            {"xyz": (CLOUD, "B N 3"), "idx": (torch.zeros(3, 7), "B S")},
            r"idx must have shape \(B, S\) with B = 2, got \(3, 7\)",
        ),
        ({"a": (CLOUD, "B N N")}, r"a must have shape \(B, N, N\), got \(2, 5, 3\)"),
        ({"xyz": ([[0.0]], "B N 3")}, "xyz must be a tensor, got list"),
        (
            {"xyz": (torch.nested.nested_tensor([CLOUD[0], CLOUD[0, :4]], layout=torch.strided), "B N 3")},
            "^f: xyz must be dense, got a nested tensor",
        ),
        ({"xyz": (CLOUD.to_sparse(), "B N 3")}, r"^f: xyz \(2, 5, 3\) must be dense"),
        (
            {"xyz": (CLOUD, "B N 3"), "new_xyz": (CLOUD.to("meta"), "B S 3")},
            "new_xyz is on meta, but the arguments before it are on cpu",
        ),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        check_shapes("f", **arguments)


@pytest.mark.parametrize("count", [0, 6])
def test_a_count_out_of_range_is_refused(count):
    check_count("f", "k", 5, 5, "ref")
    with pytest.raises(ValueError, match=rf"f: k is {count}, but ref has 5 points; it must lie in 1\.\.5"):
        check_count("f", "k", count, 5, "ref")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.uint8, torch.complex64])
def test_an_index_of_another_type_is_refused(dtype):
    assert check_index("f", "idx", torch.zeros(1, dtype=torch.int32), 1).dtype == torch.int64
    with pytest.raises(ValueError, match=rf"idx \(1,\) must be int32 or int64, got {dtype}"):
        check_index("f", "idx", torch.zeros(1, dtype=dtype), 1)


@pytest.mark.parametrize("value", [-1, 7])
def test_an_index_out_of_range_is_refused(value):
    with pytest.raises(ValueError, match=rf"f: idx \(1,\) has {value}, but must lie in 0\.\.6"):
        check_index("f", "idx", torch.tensor([value]), 7)


@pytest.mark.parametrize("count", [2.0, None, "2"])
def test_a_count_that_is_no_whole_number_is_refused(count):
    with pytest.raises(ValueError, match=f"f: k is {count!r}, but must be a whole number"):
        check_count("f", "k", count, 5, "ref")


@pytest.mark.parametrize(
    ("cloud", "message"),
    [
        (CLOUD.long(), r"f: xyz \(2, 5, 3\) must be floating point, got torch.int64"),
        (CLOUD[:0], r"f: xyz \(0, 5, 3\) holds no cloud"),
        (CLOUD + float("nan"), r"f: xyz \(2, 5, 3\) must be finite"),
        (CLOUD - float("inf"), r"f: xyz \(2, 5, 3\) must be finite"),
    ],
)
def test_clouds_that_cannot_be_searched_are_refused(cloud, message):
    with pytest.raises(ValueError, match=message):
        check_clouds("f", xyz=(cloud, "B N 3"))


def test_an_empty_cloud_is_refused():
    with pytest.raises(ValueError, match=r"f: xyz2 is empty, its shape is \(2, 0, 3\)"):
        check_not_empty("f", xyz1=CLOUD, xyz2=CLOUD[:, :0])


def test_what_a_network_puts_out_may_be_off():
    output = (CLOUD + float("nan")).requires_grad_()
    assert check_clouds("f", xyz=(output, "B N 3")) == {"B": 2, "N": 5}
