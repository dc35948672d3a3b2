"""Which backend runs."""

import logging
from types import SimpleNamespace

import pytest
import torch

import extensions
from extensions import dispatch, ops, reference

CLOUD = torch.zeros(1, 4, 3)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.delenv("POINT_OPS", raising=False)
    dispatch._backend_for.cache_clear()
    yield
    dispatch._backend_for.cache_clear()


def test_the_reference_runs_where_nothing_better_is():
    assert dispatch.select_backend(CLOUD) is reference


def test_the_environment_forces_a_backend_even_after_the_first_call(monkeypatch):
    fake = SimpleNamespace(fps=lambda points, num_samples: "fake")
    monkeypatch.setitem(dispatch.BACKENDS, "fake", fake)
    assert ops.fps(CLOUD, 2) is not None
    monkeypatch.setenv("POINT_OPS", "fake")
    assert ops.fps(CLOUD, 2) == "fake"
    monkeypatch.setenv("POINT_OPS", "reference")
    assert ops.fps(CLOUD, 2).tolist() == [[0, 0]]


def test_an_unknown_backend_is_refused(monkeypatch):
    monkeypatch.setenv("POINT_OPS", "cuda_ext")
    with pytest.raises(ValueError, match="POINT_OPS is 'cuda_ext'; the backends are: .*reference"):
        ops.fps(CLOUD, 2)


def test_the_choice_is_logged_once(caplog):
    caplog.set_level(logging.DEBUG, logger="extensions.dispatch")
    for _ in range(3):
        ops.fps(CLOUD, 2)
    assert [record.getMessage() for record in caplog.records] == ["point operations on cpu: reference"]


def test_every_backend_has_every_operation():
    for name, backend in dispatch.BACKENDS.items():
        missing = [operation for operation in ops.__all__ if not callable(getattr(backend, operation, None))]
        assert not missing, name
    assert extensions.__all__ == ops.__all__
