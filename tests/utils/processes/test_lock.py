"""The lock on a folder: who has it, who is refused, and that it ends with its process."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from pointrecon.utils.errors import InputError
from pointrecon.utils.processes.lock import FileLock
from tests import ROOT

HOLDER = """
import sys, time
from multiprocessing import Process
from pathlib import Path
from pointrecon.utils.processes.lock import FileLock
FileLock(Path(sys.argv[1]), what="it", advice="wait").acquire()
if len(sys.argv) > 2:  # a child that outlives its parent
    Process(target=time.sleep, args=(600,), daemon=False).start()
print("held", flush=True)
time.sleep(600)
"""


def make(path):
    return FileLock(path, what="the folder", advice="wait for it")


@pytest.fixture
def hold(tmp_path):
    """hold(*arguments) starts another process that has the lock."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-c", HOLDER, str(tmp_path / ".lock"), *arguments]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_another_process_is_refused_and_told_who_has_it(tmp_path, hold):
    process = hold()
    lock = make(tmp_path / ".lock")
    with pytest.raises(InputError, match=rf"the folder is in use by process {process.pid} on .* since 20.*; wait for"):
        lock.acquire()
    assert not lock.is_held and (tmp_path / ".lock").exists()


@pytest.mark.parametrize("arguments", [(), ("with a child",)], ids=["alone", "with a child that lives on"])
def test_a_dead_holder_does_not_block(tmp_path, hold, arguments):
    process = hold(*arguments)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (tmp_path / ".lock").exists()  # nobody was there to remove it
    with make(tmp_path / ".lock") as lock:
        assert lock.is_held and f'"pid": {os.getpid()}' in (tmp_path / ".lock").read_text()
    assert list(tmp_path.iterdir()) == []


def test_it_is_given_back_and_can_be_taken_again(tmp_path):
    lock = make(tmp_path / ".lock")
    for _ in range(2):
        lock.acquire()
        lock.acquire()
        lock.release()
        assert not lock.is_held and not (tmp_path / ".lock").exists()
    lock.release()


def test_a_file_that_its_holder_removes_in_between_is_made_anew(tmp_path, monkeypatch):
    """The lock was on a file that has no name any more, so it would not exclude anybody."""
    lock, original = make(tmp_path / ".lock"), FileLock._lock

    def lock_late(self, descriptor):
        if not hasattr(self, "is_late"):
            self.is_late = True
            os.unlink(self.path)
        original(self, descriptor)

    monkeypatch.setattr(FileLock, "_lock", lock_late)
    lock.acquire()
    assert os.stat(tmp_path / ".lock").st_ino == os.fstat(lock._descriptor).st_ino
    lock.release()


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="cannot write .*no such file"):
        make(tmp_path / "nowhere" / ".lock").acquire()


def test_many_at_once_have_it_one_after_the_other(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom pointrecon.utils.errors import InputError\n"
        "from pointrecon.utils.processes.lock import FileLock\nfolder = Path(sys.argv[1])\n"
        "lock = FileLock(folder / '.lock', what='it', advice='wait')\ndone = 0\n"
        "while done < 20:\n"
        "    try:\n        lock.acquire()\n    except InputError:\n        time.sleep(0.001)\n        continue\n"
        "    (folder / 'inside').mkdir()\n    (folder / 'inside').rmdir()\n    lock.release()\n    done += 1\n"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT) for _ in range(3)]
    until = time.monotonic() + 100
    assert [worker.wait(until - time.monotonic()) for worker in workers] == [0, 0, 0]
