"""One process: nothing happens. Two processes: a real group over gloo."""

import socket

import pytest
import torch

from pointrecon.utils.errors import InputError
from pointrecon.utils.processes import connection, distributed
from tests.processes import run_in_processes

WORKER = """
import torch
from pointrecon.utils.processes import connection as c, distributed as d
from pointrecon.tools.training.meters import MeanMeter
c.init("cpu")
rank = d.rank()
assert d.world_size() == 2 and d.is_main() == (rank == 0)
assert d.all_reduce_mean(torch.tensor([1.0 + rank])).item() == 1.5
assert d.all_gather_objects({"rank": rank}) == [{"rank": 0}, {"rank": 1}]
assert d.gather_in_order([0, 2, 4] if rank == 0 else [1, 3]) == [0, 1, 2, 3, 4]
values = torch.full((2,), float(rank))
d.copy_from_main([values])
assert values.tolist() == [0.0, 0.0]
rows = torch.tensor([[1.0 + rank]], requires_grad=True)
gathered = d.all_gather_rows(rows)
assert gathered.tolist() == [[1.0], [2.0]]
(gathered * torch.tensor([[3.0], [5.0]]) * (1 + rank)).sum().backward()
assert rows.grad.item() == (3.0, 5.0)[rank] * (1 + 2)  # from both processes' losses
number = torch.tensor(2.0 + rank, requires_grad=True)
total = d.sum_with_gradient(number)
assert total.item() == 5.0
(total * (1 + rank)).backward()
assert number.grad.item() == 3.0
assert not c.has_failed()
d.barrier()
c._note(c._FAILED)
assert c.has_failed()
meter = MeanMeter()
meter.update({"x": float(rank)}, weight=1 + 2 * rank)
assert meter.compute() == {"x": 0.75}
d.barrier()
c.cleanup()
print("done", rank)
"""


def test_two_processes():
    for rank, output in enumerate(run_in_processes(WORKER)):
        assert f"done {rank}" in output, output


@pytest.fixture
def alone(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)


def test_one_process(alone):
    connection.init("cpu")
    distributed.barrier()
    connection.cleanup()
    assert (distributed.rank(), distributed.local_rank(), distributed.world_size()) == (0, 0, 1)
    assert distributed.is_main()
    assert distributed.all_gather_objects(3) == [3]
    assert distributed.gather_in_order([3, 1]) == [3, 1] and not connection.has_failed()
    assert distributed.sum_with_gradient(torch.tensor(2.0)).item() == 2.0
    assert distributed.all_reduce_mean(torch.tensor(2.0)).item() == 2.0


def test_half_an_environment_is_refused(alone, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT not set; start with torchrun"):
        connection.init("cpu")
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(InputError, match="WORLD_SIZE is 'two'"):
        distributed.world_size()


def test_the_time_to_wait_is_checked(alone, monkeypatch):
    assert connection.timeout() == connection.DEFAULT_TIMEOUT
    for value in ("0", "-1", "long"):
        monkeypatch.setenv(connection.TIMEOUT, value)
        with pytest.raises(InputError, match=connection.TIMEOUT):
            connection.timeout()


def test_processes_that_do_not_come_are_not_waited_for_for_ever(alone, monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    own = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for name, value in {**own, connection.TIMEOUT: "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(
        InputError, match=f"2 processes could not be connected at 127.0.0.1:{port} within 1 s.*RECON_TIMEOUT"
    ):
        connection.init("cpu")


def test_who_is_started_again(alone, monkeypatch):
    assert not connection.is_restarted()
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "1")
    assert connection.is_restarted()
