"""What tests of several folders share."""

import multiprocessing
import multiprocessing.forkserver
import os
import resource
import time
import traceback

import pytest

from pointrecon.utils.errors import InputError
from tests.processes import WARM

pytest_plugins = ["tests.miniature", "tests.mesh_fixtures"]

MAX_SECONDS = 30  # of a refusal, on a busy machine; it takes milliseconds
MAX_MB = 150


@pytest.fixture(scope="session", autouse=True)
def warm_server():
    """The server that all children of pools, sweeps and tests are forked from imports everything, once, when needed."""
    preload = multiprocessing.forkserver.set_forkserver_preload
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiprocessing.forkserver, "set_forkserver_preload", lambda names: preload([*names, *WARM]))
        yield


def in_child(function, *args):
    """Calls a function in a child process: (error, or what it returned, as text; megabytes that it took)."""

    def work():
        # A file that claims terabytes must not be tried on the machine: the limit is far above what is allowed here.
        resource.setrlimit(resource.RLIMIT_AS, (64 << 30, 64 << 30))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            outcome = f"returned {function(*args)!r:.200}"
        except InputError as error:
            outcome = f"InputError: {error}"
        except BaseException:
            outcome = traceback.format_exc()
        theirs.send((outcome, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))
        os._exit(0)

    ours, theirs = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    theirs.close()
    try:
        assert ours.poll(MAX_SECONDS), "it hangs"
        answer = ours.recv()
        child.join(MAX_SECONDS)  # measurements of its covered lines are written whole
        return answer
    except EOFError:
        child.join()
        return f"crashed: exit code {child.exitcode}", 0
    finally:
        child.kill()
        child.join()


@pytest.fixture
def assert_refused():
    """assert_refused(path, read, message): `read(path)` names the file, says why, and takes no memory and no time."""
    return check_refused


def check_refused(path, read, message):
    start = time.perf_counter()
    outcome, megabytes = in_child(read, path)
    assert outcome.startswith("InputError: ") and path.name in outcome and message in outcome, outcome
    assert megabytes < MAX_MB, f"{megabytes:.0f} MB"
    assert time.perf_counter() - start < MAX_SECONDS
