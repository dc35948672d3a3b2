"""Every operation under everything that torch wraps calls in: the reference's answer, and never a crash."""

import json
import os
import subprocess
import sys
from functools import cache

import pytest

from pointrecon.extensions import dispatch
from tests import ROOT
from tests.extensions.calls.operations import OPERATIONS
from tests.extensions.calls.wrapped_calls import WRAPPERS


@cache
def outcomes(backend):
    """(operation, wrapper) -> outcome, and how the process ended."""
    command = [sys.executable, "-m", "tests.extensions.calls.wrapped_calls", backend]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return {(operation, wrapper): outcome for operation, wrapper, outcome in lines}, done


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("backend", ["compiled", pytest.param("reference", marks=pytest.mark.slow)])
def test_the_answer_is_the_references(backend, wrapper):
    if reason := dispatch.why_unavailable(backend, "cpu"):
        pytest.skip(reason)
    found, done = outcomes(backend)
    for operation in OPERATIONS:
        outcome = found.get((operation, wrapper), f"the process ended with {done.returncode}: {done.stderr[-2000:]}")
        assert outcome == "same", f"{operation} under {wrapper}: {outcome}"
