"""Random numbers that can be repeated: seeds, generators, draws that processes share, generator states to be saved."""

import contextlib
import os
import random
from collections.abc import Callable, Iterator

import numpy as np
import torch

from pointrecon.utils.errors import InputError
from pointrecon.utils.processes import distributed

MAX_SEED = 2**32 - 1

# Which rows of a batch are drawn for here: this process, the number of processes, rows of all of them (None: as many
# for each as for this one).
_share: tuple[int, int, int | None] = (0, 1, None)


def seed_everything(seed: int, deterministic: bool = False, rank: int = 0) -> None:
    """Seeds Python, NumPy and torch (all devices) with seed + rank.

    Args:
        seed: 0 .. 2^32 - 1 - rank.
        deterministic: Also choose only operations that give the same bits again; where there is none, torch warns.
        rank: Number of the process, so that processes draw different numbers.

    Raises:
        InputError: The seed is out of range.
    """
    if not 0 <= seed <= MAX_SEED - rank:
        raise InputError(f"seed is {seed}, but must be a whole number from 0 to {MAX_SEED - rank}")
    random.seed(seed + rank)
    np.random.seed(seed + rank)
    torch.manual_seed(seed + rank)
    if deterministic:
        # cuBLAS reads this when it starts, so it has to be set before the first product on a GPU.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    is_set = torch.are_deterministic_algorithms_enabled() == deterministic
    if not is_set or torch.is_deterministic_algorithms_warn_only_enabled() != deterministic:
        torch.use_deterministic_algorithms(deterministic, warn_only=deterministic)  # imports torch's compiler
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = False


def seed_step(seed: int) -> None:
    """Seeds Python, NumPy and torch (all devices) alike; fast enough for every step."""
    random.seed(seed)
    np.random.seed(seed % (MAX_SEED + 1))
    torch.manual_seed(seed)


def generator(device: torch.device | str, seed: int) -> torch.Generator:
    """Returns a generator of its own on `device`, seeded."""
    return torch.Generator(device=device).manual_seed(seed)


@contextlib.contextmanager
def shared_batch(num_rows: int | None = None) -> Iterator[None]:
    """Inside the block a batch is a part of one that all processes have together, and `draw_rows` draws for the whole.

    Row i of this process is row i * world_size + rank of the whole, as `datasets.loader.ShardSampler` deals them out.

    Args:
        num_rows: rows of the whole; None: every process has the same number of them.
    """
    global _share
    before, _share = _share, (distributed.rank(), distributed.world_size(), num_rows)
    try:
        yield
    finally:
        _share = before


def is_batch_whole() -> bool:
    """Says whether a batch is here in one piece."""
    return _share[1] == 1


def draw_rows(draw: Callable[[int], torch.Tensor], num_rows: int) -> torch.Tensor:
    """Draws something for each row of a batch; a batch that processes share gets what one process would have drawn.

    Args:
        draw: Number of rows -> (rows, ...), from a generator that is in the same state in all processes.
        num_rows: Rows of the batch here.

    Returns:
        (num_rows, ...).
    """
    rank, world_size, total = _share
    if is_batch_whole():
        return draw(num_rows)
    return draw(num_rows * world_size if total is None else total)[rank::world_size]


def rng_state() -> dict:
    """Returns the state of the global generators as tensors and numbers, which torch.load(weights_only=True) reads.

    Of the devices it has the CPU and the one that this process uses: asking another GPU would take memory there.
    """
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    words_of_numpy = torch.from_numpy(np.asarray(keys).astype(np.int64))
    state = {
        "python": [version, torch.tensor(words, dtype=torch.int64), gauss],
        "numpy": [str(name), words_of_numpy, int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_rng_state(state: dict) -> None:
    """Brings the global generators back to a state from `rng_state`; leaves out a device that is not here."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), position, has_gauss, cached))
    # A checkpoint that is loaded onto a GPU takes these along, but the generators want them on the CPU.
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"].cpu())
