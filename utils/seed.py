"""Random numbers that can be repeated: seeds, generators, and the state of all generators as checkpoint content."""

import os
import random

import numpy as np
import torch

from utils.errors import InputError

MAX_SEED = 2**32 - 1


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
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = False


def generator(device: torch.device | str, seed: int) -> torch.Generator:
    """Returns a generator of its own on `device`, seeded."""
    return torch.Generator(device=device).manual_seed(seed)


def rng_state() -> dict:
    """Returns the state of the global generators as tensors and numbers, which torch.load(weights_only=True) reads."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    state = {
        "python": [version, torch.tensor(words, dtype=torch.int64), gauss],
        "numpy": [str(name), torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
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
