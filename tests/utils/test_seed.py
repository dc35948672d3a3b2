"""Seeds and generator states."""

import random

import numpy as np
import pytest
import torch

from pointrecon.utils.errors import InputError
from pointrecon.utils.seed import (
    draw_rows,
    generator,
    is_batch_whole,
    rng_state,
    seed_everything,
    set_rng_state,
    shared_batch,
)


@pytest.fixture(autouse=True)
def restore():
    state = rng_state()
    yield
    torch.use_deterministic_algorithms(False)
    set_rng_state(state)


def draw():
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(1).item()]


def test_a_seed_repeats_and_a_rank_differs():
    seed_everything(3)
    first = draw()
    seed_everything(3)
    assert draw() == first
    seed_everything(3, rank=1)
    assert all(a != b for a, b in zip(draw(), first, strict=True))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(InputError, match="from 0 to 4294967295"):
        seed_everything(seed)


def test_the_state_survives_a_safe_load(tmp_path):
    seed_everything(5)
    draw()  # leaves half of a pair of gaussians waiting in two of the generators
    torch.save(rng_state(), tmp_path / "state.pth")
    expected = draw()
    seed_everything(6)
    set_rng_state(torch.load(tmp_path / "state.pth", weights_only=True))
    assert draw() == expected


def test_deterministic_is_switched_on_and_off():
    seed_everything(0, deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    seed_everything(0)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_generator_is_independent_of_the_global_one():
    first = torch.rand(3, generator=generator("cpu", 7))
    torch.rand(10)
    assert torch.equal(first, torch.rand(3, generator=generator("cpu", 7)))


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("num_rows", [6, 7])  # what 7 rows are to 2 or 3 processes has to be said
def test_processes_draw_what_one_would(monkeypatch, world_size, num_rows):
    whole = torch.randn((num_rows, 40), generator=generator("cpu", 1))
    monkeypatch.setenv("WORLD_SIZE", str(world_size))
    for rank in range(world_size):
        monkeypatch.setenv("RANK", str(rank))
        own = whole[rank::world_size]
        with shared_batch(None if num_rows == 6 else num_rows):
            assert is_batch_whole() == (world_size == 1)
            draw = generator("cpu", 1)
            assert torch.equal(
                draw_rows(lambda rows, draw=draw: torch.randn((rows, 40), generator=draw), len(own)), own
            )
        # Outside, a batch is here as a whole.
        assert draw_rows(lambda rows: torch.zeros(rows), len(own)).shape == own.shape[:1] and is_batch_whole()
