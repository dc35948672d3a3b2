"""The task pool: results come back, and what hangs, crashes or grows too large ends alone."""

import math
import os
import subprocess
import sys
import time

import pytest

from pointrecon.utils.errors import InputError
from pointrecon.utils.processes.pool import Failure, TaskPool


@pytest.mark.parametrize("jobs", [1, 3])
def test_gives_every_result(jobs):
    with TaskPool(math.sqrt, jobs) as pool:
        assert dict(pool.run(range(20))) == {number: math.sqrt(number) for number in range(20)}
        assert dict(pool.run([4])) == {4: 2.0}, "the pool can be used again"
        assert list(pool.run([])) == []


def test_an_error_is_a_failure_by_its_class():
    with TaskPool(math.sqrt) as pool:
        results = dict(pool.run([-1, 9]))
    assert results[9] == 3.0
    assert results[-1].cause == "ValueError" and results[-1].message


def test_a_call_that_hangs_is_ended_and_the_others_go_on():
    start = time.monotonic()
    with TaskPool(time.sleep, jobs=2, time_limit=0.5) as pool:
        results = dict(pool.run([0.0, 60.0, 0.01]))
    assert results[60.0] == Failure("time limit", "took over 0.5 s")
    assert results[0.0] is None and results[0.01] is None
    assert time.monotonic() - start < 30


def test_a_crash_is_a_failure_of_that_call_alone():
    with TaskPool(os._exit) as pool:
        results = dict(pool.run([3, 4]))
    assert {number: result.message for number, result in results.items()} == {
        3: "its process ended with exit code 3",
        4: "its process ended with exit code 4",
    }


def test_too_much_memory_is_a_failure():
    with TaskPool(bytearray, memory=200_000_000) as pool:
        results = dict(pool.run([10**12, 10]))
    assert results[10**12].cause == "out of memory" and results[10] == bytearray(10)


@pytest.mark.parametrize("arguments", [{"jobs": 0}, {"time_limit": 0}])
def test_refuses_numbers_out_of_range(arguments):
    with pytest.raises(InputError, match="above 0"):
        TaskPool(math.sqrt, **arguments)


def test_a_script_without_a_guard_is_not_run_again_in_the_children(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import math\n"
        "from pointrecon.utils.processes.pool import TaskPool\n"
        "print('begins')\n"
        "with TaskPool(math.sqrt, jobs=2) as pool:\n"
        "    print(sorted(result for _, result in pool.run([4.0, 9.0])))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300)
    assert done.stdout == "begins\n[2.0, 3.0]\n", done.stderr
