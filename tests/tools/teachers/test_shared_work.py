"""Work that processes share: each piece once, whatever is killed, and nobody waits for what will not come."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from pointrecon.tools.teachers.shared_work import SharedWork
from pointrecon.utils.errors import InputError

NUM_PIECES = 30
PROGRAM = f"""
import sys, time
from pathlib import Path
import numpy as np
from pointrecon.tools.teachers.shared_work import SharedWork
folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
def compute(number):
    with (folder / "log").open("a") as log:
        log.write(f"{{number}}\\n")
    time.sleep(seconds)
    return {{"x": np.full(4, number)}}
def finish():
    with (folder / "log").open("a") as log:
        log.write("finish\\n")
    content = np.stack([piece["x"] for piece in work.read(range({NUM_PIECES}))])
    np.save(folder / "new.npy", content)
    (folder / "new.npy").replace(folder / "out.npy")
work = SharedWork(folder / "parts", compute, {NUM_PIECES}, finish, (folder / "out.npy").exists)
print("ready", flush=True)
work.run()
"""


def start(folder, seconds):
    command = [sys.executable, "-c", PROGRAM, str(folder), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    return process


def check(folder):
    np.testing.assert_array_equal(np.load(folder / "out.npy"), np.arange(NUM_PIECES)[:, None].repeat(4, axis=1))
    assert not (folder / "parts").exists()
    return (folder / "log").read_text().split()


def test_processes_do_each_piece_once_and_finish_together(tmp_path):
    processes = [start(tmp_path, 0.02) for _ in range(3)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    log = check(tmp_path)
    assert sorted(log) == sorted([*map(str, range(NUM_PIECES)), "finish"])


def test_a_killed_process_leaves_its_piece_to_others(tmp_path):
    """Three are killed at different moments; the fourth was waiting beside the last of them."""
    for moment in (0.1, 0.25):
        process = start(tmp_path, 0.03)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
    slow = start(tmp_path, 1000)
    time.sleep(0.2)
    quick = start(tmp_path, 0)
    time.sleep(0.5)
    assert quick.poll() is None  # all but one piece are done, and that one is in work
    slow.send_signal(signal.SIGKILL)
    slow.wait()
    assert quick.wait(timeout=60) == 0
    log = check(tmp_path)
    assert len(log) - len(set(log)) <= 3  # no more is done again than was in work


def make(folder, compute, finish=lambda: None, is_finished=lambda: False):
    return SharedWork(folder / "parts", compute, 3, finish, is_finished)


def test_nothing_is_done_where_all_is_finished(tmp_path):
    make(tmp_path, lambda number: 1 / 0, is_finished=lambda: True).run()
    assert not list(tmp_path.iterdir())


def test_an_error_keeps_what_is_done(tmp_path):
    def compute(number):
        if number == 1:
            raise InputError("the picture is broken")
        return {"x": np.zeros(1)}

    with pytest.raises(InputError, match="broken"):
        make(tmp_path, compute).run()
    assert make(tmp_path, compute).missing() == [1, 2]


def test_a_damaged_piece_is_named(tmp_path):
    work = make(tmp_path, None)
    (tmp_path / "parts").mkdir()
    work.path(0).write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"0000000.npz' is damaged.*remove this file"):
        list(work.read([0]))


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot make the folder"):
        make(tmp_path, None).run()
