"""Other packages answer the question that is asked."""

import pytest
import torch
from bench_parts.ops_peers import PEERS, Peer

from pointrecon.extensions.backends import reference

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["cdist+topk", "k-d tree"])
def test_neighbours_are_those_of_the_definition(name):
    found = next(peer for peer in PEERS if peer.name == name)
    assert found.reason_missing(CPU) is None
    points = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(0))
    answer = found.prepare()(points, points[:, :7], 7, 5)
    assert torch.equal(answer, reference.knn(points, points[:, :7], 5))


def test_each_operation_has_a_peer_and_no_name_comes_twice():
    assert {peer.operation for peer in PEERS} == {"fps", "knn", "patchify"}
    assert len({(peer.operation, peer.name) for peer in PEERS}) == len(PEERS)


def test_why_a_peer_is_missing():
    peer = Peer("fps", "fake", "no_such_package", "no-such-package", ("cpu",), None)
    assert peer.reason_missing(CPU) == "not installed: pip install no-such-package"
    assert peer.reason_missing(torch.device("cuda")) == "does not run on cuda"
