"""The stop-gradient that ends after some epochs: also after a resume."""

from types import SimpleNamespace

import pytest
import torch

from pointrecon.tools.training.hooks.stop import StopGradientRelease, make_release
from pointrecon.utils.errors import InputError


def test_it_is_released_after_its_epochs_and_stays_so_after_a_resume():
    encoder = SimpleNamespace(stop_grad=True)
    hook = StopGradientRelease(encoder, epochs=2)
    hook.after_epoch(epoch=1)
    assert encoder.stop_grad is True
    state = hook.state_dict()
    hook.after_epoch(epoch=2)
    assert encoder.stop_grad is False
    for done, expected in ((state, True), (hook.state_dict(), False), ({}, True)):
        other = SimpleNamespace(stop_grad=True)
        StopGradientRelease(other, epochs=2).load_state_dict(done)
        assert other.stop_grad is expected


@pytest.mark.parametrize(("until", "stop", "task"), [(None, True, "pretrain"), (2, False, "pretrain"), (2, True, "x")])
def test_without_the_key_there_is_no_hook(until, stop, task):
    cfg = {"task": task, "model": {"stop_grad_until": until, "stop_grad": stop}, "cuda_graph": True}
    assert make_release(None, cfg, SimpleNamespace(device=torch.device("cpu"))) is None


def test_captured_steps_are_refused():
    cfg = {"task": "pretrain", "model": {"stop_grad_until": 2, "stop_grad": True}, "cuda_graph": True}
    with pytest.raises(InputError, match="cuda_graph=false"):
        make_release(None, cfg, SimpleNamespace(device=torch.device("cuda")))


def test_a_run_with_both_keys_trains(launch):
    code, folder = launch("epochs=2", "model.stop_grad=true", "model.stop_grad_until=1", "model.stop_share=0.5")
    state = torch.load(folder / "ckpt-last.pth", weights_only=True)
    assert code == 0 and state["hooks"]["stop_grad"] == {"done": 2}
