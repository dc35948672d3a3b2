"""Values that all processes must have, compared by two real ones."""

import pytest

from pointrecon.utils.processes.agreement import check_alike
from tests.processes import run_in_processes

CASES = {
    "alike": ({}, ""),
    "one": ({"seed": 1}, "seed is 0 in process 0 and 1 in process 1;"),
    "two": ({"data.fold": 3, "seed": 2}, "data.fold is None in process 0 and 3 in process 1; seed is 0"),
    "more": ({"more": "x"}, "more is not there in process 0 and 'x' in process 1;"),
}
WORKER = f"""
from pointrecon.utils.errors import InputError
from pointrecon.utils.processes import connection, distributed
from pointrecon.utils.processes.agreement import check_alike
from pointrecon.utils.processes.connection import PeerError
connection.init("cpu")
for own in {[own for own, _ in CASES.values()]!r}:
    values = {{"seed": 0, "data.fold": None, "optim.lr": 1e-3, **(own if distributed.rank() else {{}})}}
    try:
        check_alike(values)
        print("alike")
    except (InputError, PeerError) as error:
        print(type(error).__name__, error)
    distributed.barrier()
connection.cleanup()
"""


@pytest.fixture(scope="module")
def said():
    """Case -> what the main process and the other one say; one pair of processes goes through all."""
    main, other = (output.strip().splitlines() for output in run_in_processes(WORKER))
    assert len(main) == len(other) == len(CASES), (main, other)
    return dict(zip(CASES, zip(main, other, strict=True), strict=True))


def test_alike(said):
    assert said["alike"] == ("alike", "alike")
    check_alike({"seed": 0})  # alone


@pytest.mark.parametrize("case", [case for case in CASES if case != "alike"])
def test_the_main_process_names_what_differs(said, case):
    words, (main, other) = CASES[case][1], said[case]
    assert main.startswith("InputError the 2 processes are not of one run: ") and words in main
    assert other.startswith("PeerError")
