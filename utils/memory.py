"""How the process gets its memory: it keeps what is freed, in large pages."""

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

# Parameters of mallopt(3).
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4

PAGE_MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def tune_allocator() -> None:
    """Makes large tensors cheap on a CPU. To be called before the first of them is made."""
    keep_freed_memory()
    use_huge_pages()


def keep_freed_memory() -> bool:
    """Tells glibc to keep freed memory instead of giving it back to the system.

    Each training step frees and asks for the same large blocks. By default glibc maps each anew, and the page faults
    cost up to half of the training time on a CPU.

    Returns:
        Whether it worked; False where the C library is another one.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def use_huge_pages() -> bool:
    """Tells torch to ask for pages of 2 MB under tensors of that size and more.

    With pages of 4 kB a step touches some hundred thousand of them, more than the processor's table of pages holds;
    large ones make the training of the base network about 4 % faster. torch looks at the variable when it makes its
    first tensor; one that the user has set stays.

    Returns:
        Whether torch will ask; False where the system gives no such pages to those who ask.
    """
    try:
        is_on_request = "[madvise]" in PAGE_MODE.read_text()
    except OSError:  # not Linux, or a kernel without them
        return False
    return is_on_request and os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1") == "1"


def peak_memory_mb(device: Any) -> float:
    """Returns the largest amount of memory that was in use so far: on a GPU by tensors, otherwise by this process (MB).

    Args:
        device: A torch device.
    """
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 1e6
    import resource  # not on every system

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
