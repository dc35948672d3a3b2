"""Which backend runs."""

import logging
from types import SimpleNamespace

import pytest
import torch

from pointrecon import extensions
from pointrecon.extensions import dispatch, ops, use_backend
from pointrecon.extensions.backends import reference

CLOUD = torch.zeros(1, 4, 3)
OPERATIONS = [name for name in extensions.__all__ if name != "use_backend"]


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.delenv("POINT_OPS", raising=False)
    use_backend(None)
    dispatch.forget()
    yield
    use_backend(None)
    dispatch.forget()


@pytest.fixture
def there(monkeypatch):
    """What is there: a function (name, module or reason) that says so; at first the reference alone."""
    modules, reasons = {}, {name: "not built" for name in dispatch.BACKENDS if name != "reference"}

    def put(name, module_or_reason):
        if isinstance(module_or_reason, str):
            reasons[name] = module_or_reason
        else:
            modules[name] = module_or_reason
        dispatch.forget()

    def load(name):
        if name in modules:
            return modules[name]
        if name == "reference":
            return reference
        raise ImportError(reasons[name])

    load.cache_clear = lambda: None
    monkeypatch.setattr(dispatch, "load_backend", load)
    return put


def fake(result, devices=("cpu",)):
    return SimpleNamespace(fps=lambda points, num_samples: result, is_available=lambda device: device in devices)


def test_the_reference_runs_where_nothing_better_is(there):
    assert dispatch.select_backend(CLOUD) is reference


def test_the_first_that_can_run_is_taken(there):
    triton, compiled = fake("triton", ["cpu", "cuda"]), fake("compiled")
    there("triton", triton)
    assert dispatch.select_backend(CLOUD, "fps") is triton
    there("compiled", compiled)
    assert dispatch.select_backend(CLOUD, "fps") is compiled
    assert dispatch._choose("cuda", "") == "triton"
    assert dispatch._choose("mps", "") == "reference"


def test_what_a_backend_leaves_out_runs_in_the_reference(there):
    there("compiled", fake("compiled"))
    assert dispatch.select_backend(CLOUD, "knn") is reference


def test_the_environment_and_the_call_force_a_backend_even_after_the_first_call(there, monkeypatch):
    picked = torch.ones(1, 2, dtype=torch.int64)
    there("compiled", fake(picked))
    assert ops.fps(CLOUD, 2).tolist() == [[1, 1]]
    monkeypatch.setenv("POINT_OPS", "reference")
    assert ops.fps(CLOUD, 2).tolist() == [[0, 0]]
    use_backend("compiled")  # goes before the environment
    assert ops.fps(CLOUD, 2).tolist() == [[1, 1]]
    use_backend(None)
    assert ops.fps(CLOUD, 2).tolist() == [[0, 0]]


def test_an_unknown_backend_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="use_backend is 'cuda_ext'; the backends are: .*reference"):
        use_backend("cuda_ext")
    assert ops.fps(CLOUD, 2) is not None
    monkeypatch.setenv("POINT_OPS", "cuda_ext")
    with pytest.raises(ValueError, match="POINT_OPS is 'cuda_ext'; the backends are: .*reference"):
        ops.fps(CLOUD, 2)


def test_a_forced_backend_that_is_not_there_is_refused_with_its_reason(there, monkeypatch):
    there("compiled", "it has no wings")
    monkeypatch.setenv("POINT_OPS", "compiled")
    with pytest.raises(ValueError, match="POINT_OPS is 'compiled', which cannot run here: .*it has no wings"):
        ops.fps(CLOUD, 2)


def test_a_backend_forced_for_the_gpu_leaves_the_cpu_to_the_others(there, monkeypatch):
    there("triton", fake("triton", ["cuda"]))
    monkeypatch.setenv("POINT_OPS", "triton")
    assert dispatch._choose("cuda", "triton") == "triton"
    assert dispatch.select_backend(CLOUD) is reference


def test_the_choice_is_logged_once_with_what_is_missing(there, caplog):
    caplog.set_level(logging.WARNING, logger="pointrecon.extensions.dispatch")
    there("compiled", "it has no wings")
    for _ in range(3):
        ops.fps(CLOUD, 2)
    (line,) = caplog.messages
    assert line == "point operations on cpu: reference (compiled: it cannot be imported (it has no wings))"


def test_the_reference_has_every_operation_and_the_faces_agree():
    assert not [name for name in OPERATIONS if not callable(getattr(reference, name, None))]
    assert OPERATIONS == ops.__all__
