"""The adapter to the original compiled packages, with packages in their place that follow the original's rules."""

import importlib
import sys

import pytest
import torch

from pointrecon.extensions import dispatch
from pointrecon.extensions.backends import external, reference
from tests import ROOT

# The original's sampling: points with |p|^2 <= 1e-3 are skipped, distances start at 1e10, indices are int32.
SAMPLING = """
import torch
def furthest_point_sample(xyz, npoint):
    assert xyz.is_contiguous() and xyz.dtype == torch.float32
    rows = []
    for cloud in xyz:
        picked, nearest = [0], torch.full((len(cloud),), 1e10)
        usable = cloud.square().sum(-1) > 1e-3
        while len(picked) < npoint:
            nearest = torch.minimum(nearest, (cloud - cloud[picked[-1]]).square().sum(-1))
            picked.append(int(nearest.where(usable, -1).argmax()))
        rows.append(picked)
    return torch.tensor(rows, dtype=torch.int32)
"""
NEIGHBOURS = """
import torch
class KNN:
    def __init__(self, k, transpose_mode=False):
        assert transpose_mode
        self.k = k
    def __call__(self, ref, query):
        distance, index = torch.cdist(query, ref).sort(dim=-1)
        return distance[..., :self.k], index[..., :self.k]
"""


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A folder on the path, in front of everything else, for packages that are gone after the test."""
    ours = ("pointnet2_ops", "pointnet2_ops.pointnet2_utils", "knn_cuda")
    for name in ours:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    external.load_original.cache_clear()
    yield tmp_path
    external.load_original.cache_clear()
    for name in ours:
        sys.modules.pop(name, None)


def install(folder, *, sampling=None, neighbours=None):
    """Writes packages that have the originals' files."""
    if sampling is not None:
        package = folder / "pointnet2_ops"
        (package / "_ext-src").mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "pointnet2_utils.py").write_text(sampling)
    if neighbours is not None:
        (folder / "knn_cuda" / "csrc").mkdir(parents=True)
        (folder / "knn_cuda" / "__init__.py").write_text(neighbours)
    importlib.invalidate_caches()


def test_nothing_is_there_without_the_packages(packages):
    assert not external.is_available("cuda") and not hasattr(external, "fps") and not hasattr(external, "knn")
    assert "neither the compiled pointnet2_ops" in external.unavailable_reason("cuda")


def test_it_can_be_forced_where_a_package_is(packages, monkeypatch):
    monkeypatch.delenv("POINT_OPS", raising=False)
    dispatch.forget()
    try:
        with pytest.raises(ValueError, match="'external', which cannot run here: neither the compiled"):
            dispatch.use_backend("external")
        install(packages, neighbours=NEIGHBOURS)
        external.load_original.cache_clear()
        dispatch.forget()
        dispatch.use_backend("external")
        assert dispatch.select_backend(torch.zeros(1), "fps") is not external  # the CPU has its own
    finally:
        dispatch.use_backend(None)
        dispatch.forget()


def test_the_drop_ins_are_not_taken_for_the_originals(packages, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "extensions" / "dropins"))
    for package in external.ORIGINALS:
        assert importlib.util.find_spec(package).origin.startswith(str(ROOT / "extensions" / "dropins"))
    assert not external.is_available("cuda") and "knn_cuda" not in sys.modules


def test_one_package_gives_its_operation_alone(packages):
    install(packages, neighbours=NEIGHBOURS)
    assert external.is_available("cuda") and not external.is_available("cpu")
    assert external.unavailable_reason("cuda") == "" and "CUDA alone" in external.unavailable_reason("cpu")
    assert hasattr(external, "knn") and not hasattr(external, "fps") and not hasattr(external, "patchify")


def test_results_are_those_of_the_reference(packages):
    install(packages, sampling=SAMPLING, neighbours=NEIGHBOURS)
    points = torch.randn(3, 50, 3, generator=torch.Generator().manual_seed(0))
    centers = points[:, :7]
    index = external.knn(points, centers, 5)
    assert index.dtype == torch.int64 and torch.equal(index, reference.knn(points, centers, 5))


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e6])
def test_the_skip_near_the_origin_is_undone(packages, scale):
    install(packages, sampling=SAMPLING)
    points = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(0))
    points[:, 20:] /= 100
    points[1] = points[1, :1]  # all equal
    points *= scale
    original = external.load_original("pointnet2_ops").furthest_point_sample(points[:1].contiguous(), 30)
    wanted = reference.fps(points, 30)
    assert not torch.equal(original.long(), wanted[:1])  # by itself it skips, or takes 1e10 for a distance
    picked = external.fps(points, 30)
    assert picked.dtype == torch.int64 and torch.equal(picked, wanted)


@pytest.mark.parametrize("error", ["AssertionError('no CUDA')", "RuntimeError('nvcc')", "OSError('undefined symbol')"])
def test_a_package_that_cannot_be_imported_is_not_there(packages, caplog, error):
    install(packages, neighbours=f"raise {error}")
    assert not external.is_available("cuda") and not hasattr(external, "knn")
    assert caplog.messages == [f"the installed package knn_cuda cannot be imported: {error.split(chr(39))[1]}"]
