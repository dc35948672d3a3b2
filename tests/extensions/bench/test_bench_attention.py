"""The comparison of attentions, on sizes that take no time."""

import json

import pytest
from bench_parts import bench_attention
from bench_parts.bench_attention import Size, bench, table

from pointrecon.extensions import ops
from pointrecon.utils.errors import InputError


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(bench_attention, "MIN_SECONDS", 0)


def test_a_result_has_the_medians_and_their_ratio(monkeypatch):
    taken = iter([0.5, 0.001, 0.002, 0.001, 0.004, 0.001, 0.003])  # one to warm up, then in turns
    monkeypatch.setattr(bench_attention, "_seconds", lambda step, num_calls: next(taken))
    result = json.loads(json.dumps(bench(3, ["bench"], [Size(2, 5, 1, 16)])))
    (line,) = result["timings"]
    assert (line["ours_ms"], line["torch_ms"], line["ratio"]) == pytest.approx((1, 3, 3))
    assert table(result).splitlines()[-1] == "| 2 x 5 tokens, 1 heads of 16 | 1 | 3 | 3.00 |"
    assert result["environment"]["command"] == ["bench"]


def test_it_measures():
    result = bench(2, [], [Size(2, 5, 1, 16), Size(1, 3, 2, 8)])
    assert all(line["ours_ms"] > 0 and line["torch_ms"] > 0 for line in result["timings"])


def test_what_is_wrong_is_not_timed(monkeypatch):
    plain = ops.attention
    monkeypatch.setattr(ops, "attention", lambda qkv: 1.01 * plain(qkv))
    with pytest.raises(InputError, match="differs from torch's at 2 x 5"):
        bench(1, [], [Size(2, 5, 1, 16)])
    with pytest.raises(InputError, match="repeats is 0"):
        bench(0, [])
