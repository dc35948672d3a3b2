"""The tests mirror the folders of the source."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # of the repository

# Before anything imports torch. The networks of the tests are tiny: threads wait for each other longer than they
# compute, and a forked child must not wait for threads that its parent had.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing may be fetched
os.environ.setdefault("MPLBACKEND", "Agg")
