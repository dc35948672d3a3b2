"""The benchmark of shards, in small."""

import json

import pytest
from bench_parts.bench_shards import bench, generate, memory_mb, read_here


def test_an_epoch_is_read(tmp_path, capsys):
    generate(tmp_path / "300" / "pretrain", 300)
    read_here([str(tmp_path), "300", "1", "2"])
    report = json.loads(capsys.readouterr().out)
    assert report["shapes"] == 128 and report["end"] > report["start"]  # 150 of this process, whole batches
    assert 10 < memory_mb()["anonymous"] < memory_mb()["resident"] < 10_000


@pytest.mark.slow
def test_processes_share_the_largest_size(tmp_path):
    result = bench(tmp_path, [300, 600], [2], ["bench"])
    assert [line["read"] for line in result["epochs"]] == [256, 512]
    assert result["processes"][0]["read"] == 512 and result["processes"][0]["processes"] == 2
