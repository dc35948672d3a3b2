"""Messages, metrics and progress."""

import json
import os
import signal
import threading
from types import SimpleNamespace

import pytest
import torch
from tqdm import tqdm

from pointrecon.utils.log import MetricsWriter, Progress, close_logger, format_seconds, log_to_file, make_logger


@pytest.fixture
def logger():
    logger = make_logger(name="recon-test")
    yield logger
    close_logger(logger)


def test_the_file_gets_earlier_and_later_messages_once(logger, tmp_path, capsys):
    logger.info("before")
    log_to_file(logger, tmp_path / "log.txt", append=False)
    logger.info("after")
    text = (tmp_path / "log.txt").read_text()
    assert text.count("before") == text.count("after") == 1
    assert capsys.readouterr().out.count("before") == 1


def test_the_file_is_appended_to_or_started_anew(logger, tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("old\n")
    log_to_file(logger, path, append=True)
    assert path.read_text() == "old\n"
    log_to_file(make_logger(name="recon-test"), path, append=False)
    assert path.read_text() == ""


def test_other_processes_are_silent(tmp_path, capsys):
    logger = make_logger(enabled=False, name="recon-silent")
    logger.error("x")
    log_to_file(logger, tmp_path / "log.txt", append=False)
    writer = MetricsWriter(tmp_path, enabled=False)
    writer.write("train", 1, 1, {"loss": 1.0})
    writer.close()
    Progress(1, logger, enabled=False, is_terminal=True).update(1, loss=1.0)
    output = capsys.readouterr()
    assert output.out == output.err == "" and list(tmp_path.iterdir()) == []


def read(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_metrics_are_one_object_a_line_and_scalars(tmp_path):
    writer = MetricsWriter(tmp_path)
    assert list(tmp_path.iterdir()) == []
    writer.write("train", 1, 10, {"loss": torch.tensor(0.5), "lr": 1e-3})
    writer.write("val", 1, 10, {"accuracy": float("nan")})
    writer.close()
    assert read(tmp_path) == [
        {"split": "train", "epoch": 1, "step": 10, "loss": 0.5, "lr": 1e-3},
        {"split": "val", "epoch": 1, "step": 10, "accuracy": None},
    ]
    assert len(list((tmp_path / "tb").glob("events.*"))) == 1


def test_metrics_start_anew_or_go_on(tmp_path):
    for append, expected in [(False, [1]), (True, [1, 2]), (False, [3])]:
        writer = MetricsWriter(tmp_path, append=append)
        writer.write("train", 1, expected[-1], {})
        writer.close()
        assert [record["step"] for record in read(tmp_path)] == expected


@pytest.mark.parametrize("half", ['{"split": "tr', '{"split": "train", "epoch": 1, "step": 2, "loss": 0.', "\xff{"])
@pytest.mark.parametrize("records", [0, 1])
def test_half_a_line_is_dropped_by_whoever_goes_on(tmp_path, half, records):
    whole = '{"split": "train", "epoch": 1, "step": 1}\n' * records
    (tmp_path / "metrics.jsonl").write_bytes(whole.encode() + half.encode("latin-1"))
    writer = MetricsWriter(tmp_path, append=True)
    writer.write("test", 1, 3, {})
    writer.close()
    assert [record["step"] for record in read(tmp_path)] == [1] * records + [3]
    assert writer.num_records == records + 1


def test_rewind_drops_later_records_and_half_a_line(tmp_path):
    writer = MetricsWriter(tmp_path)
    for step in (5, 10, 15):
        writer.write("train", 1, step, {})
    writer.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"split": "tr')
    writer = MetricsWriter(tmp_path, append=True)
    writer.rewind(10)
    writer.write("train", 2, 11, {})
    writer.close()
    assert [record["step"] for record in read(tmp_path)] == [5, 10, 11]


class Unreadable:
    """A value that must not be looked at: that would make the host wait for the device."""

    def __float__(self):
        raise AssertionError


def test_progress_reads_values_only_when_it_shows_them(logger, capsys):
    with Progress(4, logger, every=2, interval=0.0, is_terminal=False) as progress:
        progress.update(8, loss=Unreadable())
        progress.update(8, loss=torch.tensor(0.25), lr=1e-3)
    assert progress.num_shapes == 16
    (line,) = capsys.readouterr().out.splitlines()
    for part in ("train 2/4", "loss 0.25", "lr 0.001", "shapes/s", "left"):
        assert part in line


def test_progress_lines_keep_their_distance(logger, capsys):
    with Progress(50, logger, every=1, interval=1000.0, is_terminal=False) as progress:
        for _ in range(50):
            progress.update(1, loss=1.0)
    assert capsys.readouterr().out == ""


def test_a_terminal_gets_a_bar(logger, capsys):
    with Progress(4, logger, label="probe", start=2, every=1, is_terminal=True) as progress:
        progress.update(8, loss=0.5)
    assert progress.step == 3
    error = capsys.readouterr().err
    assert "probe" in error and "3/4" in error


@pytest.mark.parametrize("seconds, text", [(8.4, "8 s"), (200, "3 min 20 s"), (7530, "2 h 05 min"), (0, "0 s")])
def test_durations(seconds, text):
    assert format_seconds(seconds) == text


def shown(folder):
    """What TensorBoard shows of tb/: [(name, step, value)], after what a later session takes back."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    points = []
    for path in sorted(folder.glob("tb/events.*")):
        data, place = path.read_bytes(), 0
        while place + 12 <= len(data):
            length = int.from_bytes(data[place : place + 8], "little")
            event = Event.FromString(data[place + 12 : place + 12 + length])
            place += 12 + length + 4
            if event.HasField("session_log") and event.session_log.status == SessionLog.START:
                points = [point for point in points if point[1] < event.step]
            points += [(value.tag, event.step, round(value.simple_value, 3)) for value in event.summary.value]
    return points


def test_an_interrupted_run_shows_no_point_twice_and_none_too_few(tmp_path, monkeypatch):
    times = iter(range(1_000_000, 2_000_000))
    monkeypatch.setattr("time.time", lambda: float(next(times)))  # the files of both sessions have names of their own
    writer = MetricsWriter(tmp_path)
    for epoch in (1, 2):
        writer.write("train", epoch, 10 * epoch, {"loss": 1.0 / epoch})
        writer.write("test", epoch, 10 * epoch, {"accuracy": 0.5})
    assert writer.num_records == 4
    writer.close()
    again = MetricsWriter(tmp_path, append=True)
    again.rewind(20, num_records=3)  # the last line belongs to what is done again
    again.write("test", 2, 20, {"accuracy": 0.75})
    again.close()
    assert again.num_records == 4
    assert [record.get("accuracy") for record in read(tmp_path)] == [None, 0.5, None, 0.75]
    accuracies, losses = [("test/accuracy", 10, 0.5), ("test/accuracy", 20, 0.75)], [("train/loss", 10, 1.0)]
    assert sorted(shown(tmp_path)) == [*accuracies, *losses, ("train/loss", 20, 0.5)]


def test_a_full_disk_loses_a_message_and_says_nothing(logger, tmp_path, capsys):
    log_to_file(logger, tmp_path / "log.txt", append=False)

    def write(text):
        raise OSError(28, "No space left on device")

    stream, logger.handlers[-1].stream = logger.handlers[-1].stream, SimpleNamespace(write=write, flush=lambda: None)
    logger.info("x")
    logger.handlers[-1].stream = stream
    assert capsys.readouterr().err == "" and (tmp_path / "log.txt").read_text() == ""


def test_a_dead_tensorboard_is_not_waited_for(tmp_path):
    writer = MetricsWriter(tmp_path)
    writer.write("train", 1, 1, {"loss": 1.0})
    worker = writer._board.file_writer.event_writer._worker
    worker.stop()
    for step in range(2, 40):  # more than its queue holds
        writer.write("train", 1, step, {"loss": 1.0})
    worker.stop = lambda: None
    writer.close()
    assert len(read(tmp_path)) == 39


def test_a_child_that_is_forked_while_a_thread_moves_a_bar_still_speaks(logger, capfd):
    """tqdm's monitor is such a thread."""
    has_lock, is_over = threading.Event(), threading.Event()

    def hold():
        with tqdm.get_lock():
            has_lock.set()
            is_over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    has_lock.wait()
    child = os.fork()
    if not child:
        signal.alarm(30)  # ends it if it waits
        logger.info("from the child")
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    is_over.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0 and "from the child" in capfd.readouterr().out
