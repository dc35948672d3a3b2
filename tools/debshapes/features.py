"""The last step of `scripts/prepare_data.py`: the teachers see the pictures and read the names, once."""

import importlib.util
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

from pointrecon.tools.environment import ROOT
from pointrecon.tools.teachers.offline import PACKAGES
from pointrecon.utils.errors import InputError
from pointrecon.utils.log import format_seconds

PROGRAM = ROOT / "scripts" / "cache_teacher_features.py"
NUM_VIEWS = 4
NUM_TEMPLATES = 20

log = logging.getLogger("recon")


def make_features(data_root: Path, data: str, jobs: int, program: Path = PROGRAM) -> bool:
    """Makes the teacher cache of a finished data set with the offline teachers, or finds that it is there.

    Args:
        data_root: Where the data set is.
        data: Its class.
        jobs: Processes that share the work; one that is killed loses what it was at, and the next call goes on.
        program: Is started that often.

    Returns:
        Whether the cache is there; False if the teachers' packages are not installed, which is told.

    Raises:
        InputError: A process failed; it has told why.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        log.warning(
            f"teacher features are left out, since {', '.join(missing)} is not installed; run "
            "\"pip install -e '.[teachers]'\" and the same command again, or leave them to the first training"
        )
        return False
    start = time.monotonic()
    options = ["--views", str(NUM_VIEWS), "--templates", str(NUM_TEMPLATES)]
    command = [sys.executable, str(program), "--data", data, "--data_root", str(data_root), *options]
    shared = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(command, env=shared, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL if rank else None)
        for rank in range(jobs)
    ]
    try:
        codes = [process.wait() for process in started]
    finally:
        for process in started:
            process.kill()
    if any(codes):
        raise InputError(f"making the teacher features ended with exit codes {codes}; run the same command again")
    log.info(f"teacher features: {format_seconds(time.monotonic() - start)}")
    return True
