"""The average of the weights: its values, what is evaluated and saved, and that a resumed run has the same one."""

import json

import pytest
import torch
from torch import nn

from pointrecon.tools.tasks.classify import ClassifyTask
from pointrecon.tools.training import runner
from pointrecon.tools.training.hooks.ema import WeightAverage
from pointrecon.utils.errors import InputError
from tests.tools.training.test_resume import Killed, assert_same_run, content, kill_at

EMA = ("ema.decay=0.9",)


def test_the_average_is_the_recursion_written_out_and_forgets_the_start():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    model[0].bias.requires_grad_(False)
    hook = WeightAverage(model, decay=0.5)
    expected = model[0].weight.detach().clone()
    for number in range(1, 9):
        with torch.no_grad():
            model[0].weight.add_(number)
        hook.after_step(step=number)
        decay = min(0.5, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * model[0].weight.detach()
    assert hook.evaluated_weights().keys() == {"0.weight", "1.weight", "1.bias"}
    torch.testing.assert_close(hook.evaluated_weights()["0.weight"], expected, rtol=1e-5, atol=1e-6)


def test_in_an_evaluation_the_model_has_the_average_in_the_same_memory_and_then_its_own_weights_again():
    model = nn.Linear(3, 2)
    hook, place = WeightAverage(model, decay=0.9), model.weight.data_ptr()
    first = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1)
    trained = model.weight.detach().clone()
    with pytest.raises(KeyError), hook.evaluating():
        assert torch.equal(model.weight, first) and model.weight.data_ptr() == place
        raise KeyError
    assert torch.equal(model.weight, trained) and torch.equal(hook.evaluated_weights()["weight"], first)


def test_training_itself_does_not_change(launch):
    _, plain = launch("epochs=2", name="plain")
    _, averaged = launch("epochs=2", *EMA, name="averaged")
    a, b = content(plain)["base_model"], content(averaged)
    trained = b["hooks"]["ema"]["trained"]
    assert trained and all(torch.equal(a[key], value) for key, value in trained.items())
    assert any(not torch.equal(a[key], b["base_model"][key]) for key in trained)
    assert all(torch.equal(a[key], value) for key, value in b["base_model"].items() if key not in trained)


def test_the_averaged_weights_are_evaluated_and_are_what_a_later_run_loads(launch, monkeypatch):
    seen, evaluate = [], ClassifyTask.evaluate

    def note(self, split):
        seen.append((split, {key: value.clone() for key, value in self.model.state_dict().items()}))
        return evaluate(self, split)

    monkeypatch.setattr(ClassifyTask, "evaluate", note)
    options = ("task=classify", "select=val", "data.val_fraction=0.3", "epochs=2", "keep_epochs=[1]", *EMA)
    code, folder = launch(*options)
    assert code == 0 and [split for split, _ in seen] == ["val", "val", "test"]
    first, best = content(folder, "ckpt-epoch-1.pth")["base_model"], content(folder, "ckpt-best.pth")["base_model"]
    for key in first:
        assert torch.equal(seen[0][1][key], first[key]) and torch.equal(seen[2][1][key], best[key]), key
    result = json.loads((folder / "result.json").read_text())
    code, again = launch("task=classify", "epochs=0", f"init={folder / 'ckpt-best.pth'}", name="again")
    assert code == 0 and json.loads((again / "result.json").read_text())["accuracy"] == result["accuracy"]


@pytest.mark.parametrize("select", ["last", "val"])
def test_a_killed_run_goes_on_to_the_same_average(launch, monkeypatch, select):
    options = ("task=classify", f"select={select}", "data.val_fraction=0.3", "epochs=2", "save_every=2", *EMA)
    _, whole = launch(*options, name="whole")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 5)
        launch(*options, name="killed")
    assert launch(*options, "--resume", name="killed")[0] == 0
    assert_same_run(whole, killed := launch.folder("killed"))
    assert content(killed)["hooks"]["ema"]["num_updates"] == content(killed)["step"]


def test_a_resumed_run_at_its_end_still_evaluates_the_average(launch, monkeypatch):
    tested, evaluate = [], ClassifyTask.evaluate

    def note(self, split):
        tested.append({key: value.clone() for key, value in self.model.named_parameters()})
        return evaluate(self, split)

    monkeypatch.setattr(ClassifyTask, "evaluate", note)
    options = ("task=classify", "epochs=1", *EMA)
    assert launch(*options)[0] == 0
    monkeypatch.setattr(runner.Runner, "train_step", lambda *_: pytest.fail("there is nothing left to train"))
    assert launch(*options, "--resume")[0] == 0
    first, second = tested
    assert all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.parametrize("value", ["1", "0", "-0.5", "true", "much"])
def test_a_decay_out_of_range_is_refused_before_anything_is_made(launch, capsys, value):
    code, folder = launch(f"ema.decay={value}")
    assert code == 2 and "'ema.decay' in" in capsys.readouterr().err and not folder.exists()


def test_the_state_of_another_model_is_refused():
    hook = WeightAverage(nn.Linear(3, 2), decay=0.9)
    for trained in (None, {"weight": torch.zeros(2, 3)}, {"weight": torch.zeros(3), "bias": torch.zeros(2)}):
        with pytest.raises(InputError, match="not those of this model"):
            hook.load_state_dict({"num_updates": 1, "trained": trained})
