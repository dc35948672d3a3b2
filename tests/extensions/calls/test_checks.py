"""Every mistake in an argument is told with the argument's name and shape, and checks cost a GPU no waiting."""

import numpy as np
import pytest
import torch

from pointrecon.extensions import checks, ops

CLOUD = torch.zeros(2, 5, 3)
INDEX, TRIPLES = torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, 4, 3, dtype=torch.int64)
WEIGHT = torch.ones(2, 4, 3)
NESTED, JAGGED = (
    torch.nested.nested_tensor([torch.zeros(5, 3), torch.zeros(4, 3)], layout=layout)
    for layout in (torch.strided, torch.jagged)
)
IS_NESTED = "must be dense, got a nested tensor"

MISTAKES = {
    "a fraction of a sample": (lambda: ops.fps(CLOUD, 2.0), r"num_samples is 2.0.*whole number.*\(2, 5, 3\)"),
    "no number": (lambda: ops.knn(CLOUD, CLOUD, None), "k is None, but must be a whole number"),
    "a number in words": (lambda: ops.patchify(CLOUD, 2, "2"), "group_size is '2'"),
    "no point": (lambda: ops.fps(CLOUD[:, :0], 1), r"clouds have no point \(points \(2, 0, 3\)\)"),
    "a sparse cloud": (lambda: ops.fps(CLOUD.to_sparse(), 1), r"points \(2, 5, 3\) must be dense"),
    "a nested cloud": (lambda: ops.fps(NESTED, 1), f"points {IS_NESTED}"),
    "a jagged cloud": (lambda: ops.fps(JAGGED, 1), f"points {IS_NESTED}"),
    "nested queries": (lambda: ops.knn(CLOUD, NESTED, 1), f"queries {IS_NESTED}"),
    "a nested pair": (lambda: ops.chamfer_distance(CLOUD, NESTED), f"b {IS_NESTED}"),
    "nested patches": (lambda: ops.patchify(NESTED, 1, 1), f"points {IS_NESTED}"),
    "nested features": (lambda: ops.gather(NESTED, INDEX), f"gather: features {IS_NESTED}"),
    "a nested index": (lambda: ops.group(CLOUD, JAGGED.long()), f"group: index {IS_NESTED}"),
    "nested weights": (lambda: ops.three_interpolate(CLOUD, TRIPLES, NESTED), f"weight {IS_NESTED}"),
    "nested scores": (lambda: ops.assign(NESTED), f"assign: scores {IS_NESTED}"),
    "nested pooling": (lambda: ops.linear_max(JAGGED, CLOUD[0]), f"linear_max: x {IS_NESTED}"),
    "nested attention": (lambda: ops.attention(NESTED), f"attention: qkv {IS_NESTED}"),
    "gather with floats": (lambda: ops.gather(CLOUD, INDEX.float()), r"index \(2, 4\) must be int64 or int32"),
    "gather with a mask": (lambda: ops.gather(CLOUD, INDEX.bool()), "gather: index .* got torch.bool"),
    "gather past the end": (lambda: ops.gather(CLOUD, INDEX + 5), r"gather: index \(2, 4\) has 5, .* 0\.\.4"),
    "group before the start": (lambda: ops.group(CLOUD, TRIPLES - 1), r"group: index \(2, 4, 3\) has -1"),
    "gather from a list": (lambda: ops.gather([[0.0]], INDEX), "features must be a tensor, got list"),
    "gather by a list": (lambda: ops.gather(CLOUD, [[0]]), "index must be a tensor, got list"),
    "gather across devices": (lambda: ops.gather(CLOUD, INDEX.to("meta")), "features are on cpu, but index is on meta"),
    "gather of nothing": (lambda: ops.gather(CLOUD[:0], INDEX[:0]), r"features hold no cloud.*\(0, 5, 3\)"),
    "interpolate across devices": (
        lambda: ops.three_interpolate(CLOUD, TRIPLES, WEIGHT.to("meta")),
        "features are on cpu, but weight is on meta",
    ),
    "interpolate past the end": (lambda: ops.three_interpolate(CLOUD, TRIPLES + 9, WEIGHT), "has 9, but must lie in"),
    "pairs across devices": (
        lambda: ops.assign(torch.ones(1, 2, 2), torch.ones(1, 2, dtype=torch.bool, device="meta")),
        r"assign: the devices differ: cpu and meta \(scores \(1, 2, 2\) and present \(1, 2\)\)",
    ),
    "pairs of a list": (lambda: ops.assign([[[1.0]]]), "assign: scores must be a tensor, got list"),
    "pairs by a list": (lambda: ops.assign(torch.ones(1, 2, 2), [[True]]), "assign: present must be a tensor"),
    "sparse scores": (lambda: ops.assign(torch.ones(1, 2, 2).to_sparse()), r"scores \(1, 2, 2\) must be dense"),
    "pooling across devices": (
        lambda: ops.linear_max(CLOUD, torch.ones(4, 3, device="meta")),
        "linear_max: the devices differ: cpu and meta",
    ),
    "pooling of a list": (lambda: ops.linear_max([1], CLOUD[0]), "linear_max: x must be a tensor, got list"),
    "attention to another device": (
        lambda: ops.cross_attention(torch.ones(1, 2, 1, 4), torch.ones(1, 2, 2, 1, 4, device="meta")),
        "cross_attention: the devices differ: cpu and meta",
    ),
    "attention of a list": (lambda: ops.attention([1]), "attention: qkv must be a tensor, got list"),
    "interpolate without weights": (lambda: ops.three_interpolate(CLOUD, TRIPLES, 1), "weight must be a tensor"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_refused(mistake):
    call, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message):
        call()


def test_whole_numbers_of_any_kind_will_do():
    assert ops.fps(CLOUD, np.int64(2)).shape == (2, 2)


@pytest.mark.parametrize("device", ["cuda", "meta"])
def test_values_are_looked_at_on_the_cpu_or_when_asked_for(monkeypatch, device):
    class Elsewhere:
        """Says that it lies on another device."""

        def __init__(self, kind):
            self.device = torch.device(kind)

    monkeypatch.delenv("POINT_OPS_CHECK", raising=False)
    assert checks._is_looked_at(CLOUD) and not checks._is_looked_at(Elsewhere(device))
    monkeypatch.setenv("POINT_OPS_CHECK", "0")
    assert not checks._is_looked_at(Elsewhere(device))
    monkeypatch.setenv("POINT_OPS_CHECK", "1")
    assert checks._is_looked_at(Elsewhere(device)) == (device == "cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu_mistakes_are_refused(monkeypatch):
    cloud = CLOUD.cuda()
    with pytest.raises(ValueError, match="num_samples is 6"):
        ops.fps(cloud, 6)
    with pytest.raises(ValueError, match="the devices differ"):
        ops.knn(cloud, CLOUD, 2)
    with pytest.raises(ValueError, match="features are on cuda:0, but index is on cpu"):
        ops.gather(cloud, INDEX)
    monkeypatch.setenv("POINT_OPS_CHECK", "1")
    with pytest.raises(ValueError, match="must lie in"):
        ops.gather(cloud, INDEX.cuda() + 5)
    with pytest.raises(ValueError, match="points .* must be finite"):
        ops.fps(cloud + float("nan"), 2)
