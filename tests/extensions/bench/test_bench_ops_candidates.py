"""What is timed, and what is refused."""

import os
import re

import pytest
import torch
from bench_parts import ops_peers as bench_ops_peers
from bench_parts.ops_peers import (
    SMALL,
    Candidate,
    Peer,
    Size,
    expect,
    find_candidates,
    find_mistake,
    forced,
    make_clouds,
    make_lattices,
)

from pointrecon.extensions.backends import reference

CPU = torch.device("cpu")


def peer(operation, run, package="torch", prepare=None):
    return Peer(operation, "fake", package, "fake-points", ("cpu",), prepare or (lambda: run))


def names(operation, skipped):
    return [candidate.name for candidate in find_candidates(operation, CPU, skipped)]


def raise_runtime_error():
    raise RuntimeError("no\ncompiler")


@pytest.mark.parametrize(
    "fake, reason",
    [
        (peer("fps", None, package="no_such_package"), "not installed: pip install fake-points"),
        (peer("fps", None, prepare=raise_runtime_error), "no compiler"),
        (
            peer("fps", lambda points, centers, g, k: torch.arange(g).expand(len(points), g)),
            "wrong result: gaps between samples are",
        ),
        (peer("fps", lambda points, centers, g, k: torch.zeros(len(points), g + 1)), "wrong result: shape"),
        (
            peer("knn", lambda points, centers, g, k: torch.arange(k).expand(len(points), g, k)),
            "wrong result: 9.* of the neighbors are others",
        ),
        (peer("knn", lambda points, centers, g, k: points @ centers), "."),
    ],
)
def test_a_peer_that_is_missing_or_wrong_is_not_timed(monkeypatch, fake, reason):
    monkeypatch.setattr(bench_ops_peers, "PEERS", [fake])
    skipped = []
    assert "fake" not in names(fake.operation, skipped)
    assert [skip.name for skip in skipped][-1] == "fake" and re.match(reason, skipped[-1].reason)


def test_the_reference_is_timed_if_asked_for_or_if_nothing_else_is_there(monkeypatch):
    monkeypatch.setattr(bench_ops_peers, "PEERS", [])
    monkeypatch.setattr(bench_ops_peers.dispatch, "why_unavailable", lambda name, device: "")
    monkeypatch.setattr(bench_ops_peers.dispatch, "load_backend", lambda name: reference)
    monkeypatch.setattr(bench_ops_peers, "_try_out", lambda *_: None)
    assert "reference" not in names("fps", []) and names("fps", [])
    asked = [candidate.name for candidate in find_candidates("fps", CPU, [], with_reference=True)]
    assert asked == [*names("fps", []), "reference"]
    monkeypatch.setattr(bench_ops_peers.dispatch, "why_unavailable", lambda name, device: name != "reference")
    assert names("fps", []) == ["reference"]


def test_a_peer_may_start_elsewhere(monkeypatch):
    def run(points, centers, g, k):
        return reference.fps(points.flip(1), g).neg() + points.shape[1] - 1

    monkeypatch.setattr(bench_ops_peers, "PEERS", [peer("fps", run)])
    assert names("fps", [])[-1] == "fake"


def test_ours_must_be_equal_in_every_index():
    points = make_clouds(Size(2, 50, 9, 4), CPU)
    expected = expect("knn", points, points[:, :9], Size(2, 50, 9, 4))
    wrong = expected.clone()
    wrong[1, 3] = wrong[1, 3].flip(0)  # the same neighbours in another order
    ours, other = Candidate("ours", True, None), Candidate("other", False, None)
    assert find_mistake("knn", ours, expected, points, expected) is None
    assert "5.56% of the indices differ" in find_mistake("knn", ours, wrong, points, expected)
    assert find_mistake("knn", other, wrong, points, expected) is None


def test_the_definition_of_patches_is_that_of_samples_and_neighbours():
    points = make_clouds(SMALL, CPU)
    centers = reference.gather(points, reference.fps(points, SMALL.num_samples))
    assert torch.equal(expect("patchify", points, points[:, :1], SMALL), reference.knn(points, centers, SMALL.k))


@pytest.mark.parametrize("wrong", [None, 0, 1])
def test_patches_must_be_right_and_not_their_indices_alone(monkeypatch, wrong):
    def patchify(*arguments):
        found = reference.patchify(*arguments)
        return [part + (number == wrong) for number, part in enumerate(found)]

    monkeypatch.setattr(bench_ops_peers, "PEERS", [])
    monkeypatch.setattr(bench_ops_peers.ops, "patchify", patchify)
    found = names("patchify", skipped := [])
    refused = {skip.name for skip in skipped if "centres or patches differ" in skip.reason}
    assert ("reference" in refused and not found) if wrong is not None else (found and not refused)


def test_clouds_are_different_ellipsoids_and_lattices_have_ties():
    first, second = make_clouds(Size(2, 80, 1, 1), CPU)
    assert not torch.equal(first, second) and first.abs().max() < 1.2
    assert len(make_lattices(CPU)[0].unique(dim=0)) < SMALL.num_points


@pytest.mark.parametrize("before", [None, "reference"])
def test_a_forced_backend_ends_with_the_block(monkeypatch, before):
    monkeypatch.delenv("POINT_OPS", raising=False)
    if before:
        monkeypatch.setenv("POINT_OPS", before)
    with pytest.raises(KeyError), forced("triton"):
        assert os.environ["POINT_OPS"] == "triton"
        raise KeyError
    assert os.environ.get("POINT_OPS") == before
