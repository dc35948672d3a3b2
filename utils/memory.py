"""Keeps freed memory in the process."""

import ctypes

# Parameters of mallopt(3).
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4


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
