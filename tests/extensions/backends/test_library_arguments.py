"""The C functions look at their arguments: a wrong one is a refusal, not an access to somebody's memory."""

import ctypes

import pytest
import torch

from pointrecon.extensions.assignment import compiled as assignment
from pointrecon.extensions.attention import compiled as attention
from pointrecon.extensions.backends import library
from pointrecon.extensions.chamfer import compiled as chamfer
from pointrecon.extensions.checks import _magnitude
from pointrecon.extensions.fps import compiled as fps
from pointrecon.extensions.interpolate import compiled as interpolate
from pointrecon.extensions.knn import compiled as knn
from pointrecon.extensions.patchify import compiled as patchify
from pointrecon.extensions.pooling import compiled as pooling

pytestmark = pytest.mark.skipif(not library.is_available("cpu"), reason="the CPU library is not built")

# Function -> sizes that are right; the memory of the tests is far larger.
FUNCTIONS = {
    "assign": (assignment._assign, (1, 3, 4)),
    "fps": (fps._fps, (1, 5, 3)),
    "knn": (knn._knn, (1, 5, 4, 3)),
    "knn_wide": (knn._knn_wide, (1, 5, 4, 7, 3)),
    "patchify": (patchify._patchify, (1, 5, 4, 3)),
    "three_nn": (interpolate._three_nn, (1, 4, 5)),
    "nearest": (chamfer._nearest, (1, 4, 5)),
    "nearest_backward": (chamfer._nearest_backward, (1, 4, 5)),
    "patch_max": (pooling._patch_max, (2, 3, 4)),
    "linear_max_backward": (pooling._linear_max_backward, (2, 3, 4, 8, 1)),
    "attention": (attention._attention, (1, 2, 3, 2, 16, 32, 96)),
    "attention_backward": (attention._attention_backward, (1, 2, 3, 2, 16, 32, 96)),
    "magnitude": (_magnitude, (2, 9)),
}


def arguments(name, sizes=None):
    """The function, and zeros for every pointer: floats, and indices that are 0."""
    function, right = FUNCTIONS[name]
    rest = iter(right if sizes is None else sizes)
    return function, [torch.zeros(4096) if kind is ctypes.c_void_p else next(rest) for kind in function._types[:-1]]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_right_arguments_are_taken(name):
    function, right = arguments(name)
    function(*right)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_negative_size_and_one_past_all_memory_are_refused(name):
    _, sizes = FUNCTIONS[name]
    for place in range(4 if name == "linear_max_backward" else len(sizes)):  # its fifth is a choice
        for wrong in (-1, 2**62):
            function, given = arguments(name, (*sizes[:place], wrong, *sizes[place + 1 :]))
            with pytest.raises(ValueError, match=f"point_ops_{name} cannot take"):
                function(*given)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_memory_is_refused(name):
    function, right = arguments(name)
    for place, argument in enumerate(right):
        if isinstance(argument, torch.Tensor):
            with pytest.raises(ValueError, match=f"point_ops_{name} cannot take"):
                function(*right[:place], 0, *right[place + 1 :])


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "magnitude"])
def test_no_work_needs_no_memory(name):
    function, given = arguments(name, (0, *FUNCTIONS[name][1][1:]))
    nothing = [0 if isinstance(x, torch.Tensor) else x for x in given]
    if name == "linear_max_backward":
        nothing[-1] = torch.ones(4, 8)  # the gradient of the weights is 0, but there
    function(*nothing)
    assert name != "linear_max_backward" or not nothing[-1].any()


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("fps", (1, 5, 6)),
        ("knn", (1, 5, 4, 6)),
        ("knn_wide", (1, 5, 4, 7, 6)),
        ("patchify", (1, 5, 6, 3)),
        ("patchify", (1, 5, 3, 6)),
        ("three_nn", (1, 4, 2)),
        ("nearest", (1, 4, 0)),
        ("patch_max", (2, 0, 4)),
        ("attention", (1, 2, 0, 2, 16, 32, 96)),
        ("attention", (1, 2, 3, 2, 15, 32, 96)),
        ("attention", (1, 2, 3, 2, 16, 31, 96)),
    ],
)
def test_sizes_that_do_not_fit_each_other_are_refused(name, sizes):
    function, given = arguments(name, sizes)
    with pytest.raises(ValueError, match="cannot take"):
        function(*given)


@pytest.mark.parametrize("wrong", [-1, 5])
@pytest.mark.parametrize(
    ("name", "place", "dtype"), [("nearest_backward", 2, "int64"), ("linear_max_backward", 1, "int32")]
)
def test_an_index_outside_is_refused(name, place, dtype, wrong):
    function, given = arguments(name)
    given[place] = torch.full((64,), wrong, dtype=getattr(torch, dtype))
    with pytest.raises(ValueError, match="cannot take"):
        function(*given)


def test_a_tensor_is_no_size():
    function, given = arguments("fps")
    given[1] = torch.tensor(1)
    with pytest.raises((ValueError, TypeError, ctypes.ArgumentError)):
        function(*given)
