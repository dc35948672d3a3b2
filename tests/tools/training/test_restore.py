"""Checkpoints that a run cannot go on from: one sentence, exit code 2, and nothing of them is used."""

import pytest
import torch

from pointrecon.tools.checkpoints.resume import load_optimizer
from pointrecon.tools.training import runner

OPTIONS = ("task=classify", "epochs=2", "save_every=3")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The checkpoint of a run that was interrupted after 3 steps; made once."""
    return {}


@pytest.fixture
def resume(launch, monkeypatch, capsys, saved):
    """resume(change, *arguments): a checkpoint that `change` has been at; (exit code, what was told)."""
    from tests.tools.training.test_resume import Killed, kill_at

    def run(change, *arguments):
        folder = launch.folder("run")
        if not saved:
            with monkeypatch.context() as patch, pytest.raises(Killed):
                kill_at(patch, 5)
                launch(*OPTIONS)
            saved.update(torch.load(folder / "ckpt-last.pth", weights_only=True))
        folder.mkdir(parents=True, exist_ok=True)
        content = torch.load(folder / "ckpt-last.pth", weights_only=True) if not saved else dict(saved)
        content = change({key: value.copy() if isinstance(value, dict) else value for key, value in content.items()})
        torch.save(content, folder / "ckpt-last.pth")
        monkeypatch.setattr(runner.Runner, "train_step", lambda *_: pytest.fail("it must not get that far"))
        capsys.readouterr()
        return launch(*OPTIONS, "--resume", *arguments)[0], capsys.readouterr().err

    return run


def state_of(content):
    optimizer = content["optimizer"]
    content["optimizer"] = {**optimizer, "state": {key: dict(item) for key, item in optimizer["state"].items()}}
    return content["optimizer"]["state"]


def without(*names):
    return lambda content: {key: value for key, value in content.items() if key not in names}


def moment(key, value):
    """Replaces one of the optimizer's means of the largest parameter."""

    def change(content):
        state = state_of(content)
        number = max(state, key=lambda item: state[item]["exp_avg"].numel())
        state[number][key] = value(state[number][key]) if callable(value) else value
        return content

    return change


def part(name, value):
    return lambda content: {**content, name: value(content[name]) if callable(value) else value}


def regroup(content):
    groups = [dict(group) for group in content["optimizer"]["param_groups"]]
    groups[0]["params"], groups[1]["params"] = groups[1]["params"], groups[0]["params"]
    return {**content, "optimizer": {**content["optimizer"], "param_groups": groups}}


def rename(content):
    names = [list(group) for group in content["parameter_names"]]
    names[0][0], names[0][1] = names[0][1], names[0][0]
    return {**content, "parameter_names": names}


def rng(position):
    return lambda state: {**state, "numpy": [*state["numpy"][:2], position, *state["numpy"][3:]]}


CASES = {
    "no config": (without("config"), "has no 'config'"),
    "no optimizer": (without("optimizer"), "has no 'optimizer'"),
    "no random state": (without("random_state"), "has no 'random_state'"),
    "weights alone": (lambda content: {"base_model": content["base_model"]}, "has no 'config', 'schedule'"),
    "kept weights": (part("kept", "weights"), "kept its weights alone"),
    "small mean": (moment("exp_avg", torch.zeros(3)), "has the shape (3,) in the file"),
    "small square": (moment("exp_avg_sq", torch.zeros(1)), "has the shape (1,) in the file"),
    "expanded mean": (moment("exp_avg", lambda x: x[:1]), "in the file"),
    "half mean": (moment("exp_avg", lambda x: x.half()), "is torch.float16, but torch.float32"),
    "sparse mean": (moment("exp_avg", lambda x: x.to_sparse()), "is damaged"),
    "no tensor": (moment("exp_avg", 3.0), "is float, but torch.float32"),
    "nan mean": (moment("exp_avg", lambda x: x * float("nan")), "not finite"),
    "negative square": (moment("exp_avg_sq", lambda x: x - 1), "negative"),
    "more means": (moment("max_exp_avg_sq", torch.zeros(3)), "'max_exp_avg_sq'"),
    "step of a shape": (moment("step", torch.zeros(4)), "is not a count"),
    "step below zero": (moment("step", torch.tensor(-1.0)), "is not a count"),
    "state of nobody": (part("optimizer", lambda o: {**o, "state": {**o["state"], 999: {}}}), "parameter 999"),
    "state of a name": (part("optimizer", lambda o: {**o, "state": {"x": {}}}), "parameter 'x'"),
    "no groups": (part("optimizer", lambda o: {"state": o["state"]}), "no groups"),
    "empty groups": (part("optimizer", lambda o: {**o, "param_groups": []}), "groups of no parameters"),
    "other groups": (regroup, "optim.layer_decay"),
    "other names": (rename, "where this run has"),
    "optimizer is a list": (part("optimizer", []), "not Mapping"),
    "epoch is a text": (part("epoch", "1"), "'epoch' is a value of type str"),
    "epoch below zero": (part("epoch", -1), "claims -1 as its epoch"),
    "step is huge": (part("step", 1 << 60), "as its step"),
    "too many steps": (part("sampler", {"epoch": 0, "steps": 99}), "impossible"),
    "sums of a text": (part("progress", {"num_skipped": 0, "sums": {"loss": "ab"}}), "cannot be read"),
    "skipped below zero": (part("progress", {"num_skipped": -3, "sums": {}}), "impossible"),
    "no schedule": (part("schedule", {}), "cannot be read"),
    "generator beyond its table": (part("random_state", rng(70_000)), "random state"),
    "no generator": (part("random_state", {}), "random state"),
    "nan weights": (
        part("base_model", lambda m: {k: v * float("nan") if v.is_floating_point() else v for k, v in m.items()}),
        "not finite",
    ),
    "negative variance": (
        part("base_model", lambda m: {k: -v - 1 if k.endswith("running_var") else v for k, v in m.items()}),
        "running_var' is below zero",
    ),
}


@pytest.mark.parametrize(("change", "words"), CASES.values(), ids=CASES.keys())
def test_an_odd_checkpoint_is_one_sentence(resume, change, words):
    code, told = resume(change)
    assert code == 2 and words in told and told.count("\n") == 1 and "ckpt-last.pth" in told, told


SETTINGS = {
    "groups": (("optim.layer_decay=0.5",), "optim.layer_decay"),
    "frozen": (("classifier.freeze=backbone",), "classifier.freeze"),
    "width": (("model.embed_dim=32",), "has the shape"),
    "depth": (("model.depth=3",), "are not in both"),
    "head": (("classifier.head=linear",), "are not in both"),
}


@pytest.mark.parametrize(("arguments", "words"), SETTINGS.values(), ids=SETTINGS.keys())
def test_settings_that_the_checkpoint_does_not_fit_are_one_sentence(resume, arguments, words):
    code, told = resume(lambda content: content, "resume_changed=true", *arguments)
    assert code == 2 and words in told and told.count("\n") == 1, told


def test_what_the_optimizer_writes_to_is_its_own_memory():
    """A tensor of the right shape may be a single number in memory; a fused step would write beyond it."""
    layer = torch.nn.Linear(64, 64)
    optimizer = torch.optim.AdamW(layer.parameters(), fused=True)
    thin, shared = torch.zeros(1).expand(64, 64), torch.zeros(64)
    states = {0: {"exp_avg": thin, "exp_avg_sq": thin}, 1: {"exp_avg": shared, "exp_avg_sq": shared}}
    saved = {
        "state": {number: {"step": torch.tensor(1.0), **state} for number, state in states.items()},
        "param_groups": optimizer.state_dict()["param_groups"],
    }
    load_optimizer(optimizer, {"optimizer": saved}, [["weight", "bias"]], "x")
    tensors = [state[key] for state in optimizer.state.values() for key in ("exp_avg", "exp_avg_sq")]
    assert all(x.is_contiguous() and x.untyped_storage().nbytes() >= x.nbytes for x in tensors)
    assert len({x.data_ptr() for x in tensors}) == 4


def test_settings_of_the_optimizer_are_those_of_the_config(launch, monkeypatch):
    """What the file says of rates and decays does not come back over `resume_changed`."""
    from tests.tools.training.test_resume import Killed, kill_at

    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 5)
        launch(*OPTIONS)
    seen, original = [], runner.Runner.train_step

    def train_step(self, progress):
        seen.append({(group["weight_decay"], tuple(group["betas"])) for group in self.optimizer.param_groups})
        original(self, progress)

    monkeypatch.setattr(runner.Runner, "train_step", train_step)
    changes = ("optim.weight_decay=0.3", "optim.betas=[0.8, 0.9]", "resume_changed=true")
    assert launch(*OPTIONS, "--resume", *changes)[0] == 0
    assert seen[0] == {(0.3, (0.8, 0.9)), (0.0, (0.8, 0.9))}
