"""The benchmark's result on clouds that take no time."""

import json

import bench_ops
import pytest
import torch
from bench_ops import bench
from bench_parts.ops_peers import Candidate, Size

from pointrecon.utils.errors import InputError

TINY = [Size(2, 64, 8, 4), Size(1, 90, 5, 3)]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(bench_ops, "MIN_SECONDS", 0)


def test_a_result_has_everything_that_repeating_it_needs():
    result = bench("cpu", 3, ["knn"], TINY, ["bench_ops.py", "--repeats", "3"], with_reference=True)
    result = json.loads(json.dumps(result))
    assert result["environment"]["command"] == ["bench_ops.py", "--repeats", "3"]
    assert result["environment"]["threads"] == torch.get_num_threads()
    names = {timing["name"] for timing in result["timings"]}
    assert {"reference", "cdist+topk", "k-d tree"} <= names
    assert len(result["timings"]) == len(names) * len(TINY)
    for timing in result["timings"]:
        assert 0 < timing["lowest_ms"] <= timing["median_ms"] <= timing["highest_ms"]
        assert timing["num_measurements"] == 3
    assert [ratio["size"]["num_points"] for ratio in result["ratios"]] == [64, 90]
    lines = result["table"].splitlines()
    assert lines[0].startswith("| knn, ms | ") and lines[0].endswith(" | fastest other / ours |")
    assert len({line.count("|") for line in lines}) == 1 and len(lines) == 4


def test_the_ratio_is_that_of_the_fastest_other_to_ours(monkeypatch):
    seconds = {"first": 0.002, "second": 0.001, "slow": 0.03, "fast": 0.006}
    candidates = [Candidate(name, name in ("first", "second"), None) for name in seconds]
    monkeypatch.setattr(bench_ops, "find_candidates", lambda *_: iter(candidates))
    monkeypatch.setattr(bench_ops, "call", lambda *_: torch.zeros(0))
    monkeypatch.setattr(bench_ops, "find_mistake", lambda *_: None)
    monkeypatch.setattr(bench_ops, "_measure", lambda candidate, *_: seconds[candidate.name])
    result = bench("cpu", 1, ["fps"], TINY[:1], [])
    (ratio,) = result["ratios"]
    assert (ratio["ours"], ratio["peer"]) == ("first", "fast") and ratio["ratio"] == pytest.approx(3)
    assert result["table"].splitlines()[-1] == "| 2 x 64 -> 8 | 2 | 1 | 30 | 6 | 3.00 |"


def test_ours_is_not_timed_where_it_is_wrong(monkeypatch):
    plain = bench_ops.find_mistake

    def find_mistake(operation, candidate, result, points, expected):
        return plain(operation, candidate, result + (points.shape[1] == 90), points, expected)

    monkeypatch.setattr(bench_ops, "find_mistake", find_mistake)
    monkeypatch.setattr("bench_parts.ops_peers.PEERS", [])
    result = bench("cpu", 1, ["fps"], TINY, [], with_reference=True)
    assert {timing["size"]["num_points"] for timing in result["timings"]} == {64}
    wrong = [skip["reason"] for skip in result["skipped"] if skip["name"] == "reference"]
    assert wrong == ["1 x 90 -> 5: wrong result: 100.00% of the indices differ from the reference"]


def test_a_slow_candidate_is_measured_once(monkeypatch):
    monkeypatch.setattr(bench_ops, "MAX_SECONDS", 0)
    assert {timing["num_measurements"] for timing in bench("cpu", 6, ["fps"], TINY[:1], [])["timings"]} == {1}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("tpu", 1, ["fps"], TINY, []), "device"),
        (("cpu", 1, ["fpss"], TINY, []), "fpss.*fps"),
        (("cpu", 0, ["fps"], TINY, []), "repeats is 0; it must be 1 or more"),
        (("cpu", 1, ["fps"], [], []), "no size is left; the smallest cloud has 1024 points"),
    ],
)
def test_mistakes_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        bench(*arguments)
