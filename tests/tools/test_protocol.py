"""What `protocol: published` changes, each habit seen in what a run does."""

import json

import pytest
import torch

from pointrecon.tools import protocol
from pointrecon.tools.tasks import classify
from pointrecon.utils.errors import InputError


def result(folder):
    return json.loads((folder / "result.json").read_text())


def records(folder, split):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["split"] == split]


def make_cfg(**changes):
    return {
        "task": "classify",
        "protocol": "published",
        "epochs": 3,
        "select": "last",
        "data": {"type": "A"},
        **changes,
    }


def test_the_sound_protocol_has_no_quirks_and_published_those_of_its_task():
    assert protocol.quirks(make_cfg(protocol="sound")) == {}
    found = protocol.quirks(make_cfg())
    assert "test_selection" in found and "double_step" not in found and "train_and_test" not in found
    assert "double_step" in protocol.quirks(make_cfg(task="segment"))
    shapenet = protocol.quirks(make_cfg(task="pretrain", data={"type": "ShapeNet55"}))
    assert {"whole_shapenet", "bgr_images"} == shapenet.keys() - protocol.quirks(make_cfg(task="pretrain")).keys()
    with pytest.raises(InputError, match="sound, published"):
        protocol.quirks(make_cfg(protocol="publised"))


def test_epochs_and_selection():
    assert protocol.num_epochs(make_cfg()) == 4 and protocol.num_epochs(make_cfg(epochs=0)) == 0
    assert protocol.num_epochs(make_cfg(protocol="sound")) == 3
    assert protocol.selection(make_cfg()) == "test" and protocol.selection(make_cfg(task="pretrain")) == "last"
    assert protocol.selection(make_cfg(epochs=0)) == "last"
    with pytest.raises(AssertionError, match="no quirk"):
        protocol.has_quirk(make_cfg(), "extra_epochs")


def test_a_published_run_names_its_quirks_and_a_sound_one_has_none(launch):
    code, folder = launch("task=classify", "protocol=published", "epochs=2", name="published")
    found = result(folder)
    assert code == 0 and found["protocol"] == "published" and found["select"] == "test"
    assert found["quirks"].keys() == protocol.quirks(make_cfg()).keys()
    assert [record["epoch"] for record in records(folder, "train")] == [1, 2, 3]  # one more than asked for
    assert len(records(folder, "test")) == 4  # after each epoch, and at the end
    rates = [record["lr"] for record in records(folder, "train")]
    assert rates[0] == rates[1] == 1e-6
    assert torch.load(folder / "ckpt-last.pth", weights_only=True)["step"] == 3 * 5  # 45 shapes: 5 batches of 8
    code, folder = launch("task=classify", "epochs=2", name="sound")
    assert "quirks" not in result(folder) and result(folder)["protocol"] == "sound"
    assert torch.load(folder / "ckpt-last.pth", weights_only=True)["step"] == 2 * 6


def test_undivided_accumulation_makes_larger_gradients(launch):
    """With Adam the size of a gradient hardly shows in the weights, so its running mean is looked at."""

    def momentum(*options, name):
        assert launch("epochs=1", "accum_steps=2", "optim.grad_clip=null", *options, name=name)[0] == 0
        content = torch.load(launch.folder(name) / "ckpt-last.pth", weights_only=True)
        return sum(state["exp_avg"].norm() for state in content["optimizer"]["state"].values())

    published = momentum("protocol=published", "task=classify", name="published")
    assert published > 1.5 * momentum("task=classify", "data.drop_last=true", name="sound")


def test_a_vote_is_of_a_fixed_size_and_every_vote_is_told(launch):
    options = ("task=classify", "epochs=1", "num_votes=3", "data.augment.rotate_y=180")
    code, folder = launch(*options, name="sound")
    found = result(folder)
    assert code == 0 and found["num_votes"] == 3 and len(found["vote_accuracies"]) == 3
    assert "num_vote_trials" not in found
    again = result(launch(*options, name="again")[1])
    assert again["vote_accuracies"] == found["vote_accuracies"] and again["accuracy"] == found["accuracy"]


def test_the_published_vote_is_the_best_of_many(launch, monkeypatch):
    monkeypatch.setattr(classify, "PUBLISHED_TRIALS", 4)
    weights = launch("task=classify", "epochs=1", name="trained")[1] / "ckpt-last.pth"
    test = ("task=classify", "--test", "--ckpts", weights, "num_votes=2", "data.augment.rotate_y=180")
    found = result(launch(*test, "protocol=published", name="published")[1])
    assert found["num_vote_trials"] == 4 and found["accuracy"] >= found["mean_vote_accuracy"]
    sound = result(launch(*test, name="sound")[1])
    assert found["accuracy"] >= sound["accuracy"]  # the sound vote is the first of the four


OBJECTS = {
    "ModelNet40": ({"type": "ModelNet40", "options": {}}, {"scale": (2 / 3, 1.5)}),
    "few shots": ({"type": "ModelNetFewShot", "options": {}}, {"scale": (2 / 3, 1.5)}),
    "hardest": ({"type": "ScanObjectNN", "options": {}}, {"rotate_y": 180.0}),
    "named hardest": ({"type": "ScanObjectNN", "options": {"variant": "pb_t50_rs"}}, {"rotate_y": 180.0}),
    "with background": ({"type": "ScanObjectNN", "options": {"variant": "obj_bg"}}, {}),
    "without background": ({"type": "ScanObjectNN", "options": {"variant": "obj_only"}}, {}),
}
UNCHANGED = {"rotate_y": 0, "scale": (1, 1), "scale_isotropic": False, "shift": 0, "jitter": 0, "flip_x": 0}
UNCHANGED |= {"dropout": 0, "tilt": 0, "color_drop": 0, "up": "y"}
AUGMENT = {**UNCHANGED, "scale": [0.5, 2], "shift": 0.2, "rotate_y": 90.0}


@pytest.mark.parametrize("data, changes", OBJECTS.values(), ids=OBJECTS.keys())
def test_published_votes_vary_clouds_as_published(data, changes):
    data = {**data, "augment": AUGMENT}
    assert protocol.vote_augment(make_cfg(data=data)) == {**UNCHANGED, **changes}
    assert protocol.vote_augment(make_cfg(data=data, protocol="sound")) == AUGMENT
    assert protocol.vote_augment(make_cfg(data={**data, "type": "SweetHome3D"})) == AUGMENT


def test_published_votes_are_means_of_logits():
    """One vote that is very sure outweighs two that are not; as probabilities the two would win."""
    logits = torch.tensor([[[10.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 3.0, 0.0]]])  # one object, three votes
    for name, winner in (("published", 0), ("sound", 1)):
        data = {"type": "ModelNet40", "options": {}, "augment": AUGMENT}
        scores = classify.combine_votes(logits[:, None], make_cfg(data=data, protocol=name))
        assert scores.shape == (1, 1, 3) and scores.argmax(dim=-1).item() == winner
    assert scores.sum().item() == pytest.approx(1)


def test_published_zero_shot_counts_training_objects_too(launch):
    weights = launch("epochs=1", name="pretrained")[1] / "ckpt-last.pth"
    options = ("task=evaluate", "epochs=0", "--ckpts", weights)
    both = "evaluators={zero_shot: {}, svm: {}}"
    published = result(launch(*options, both, "protocol=published", name="published")[1])
    sound = result(launch(*options, both, name="sound")[1])
    assert sound["zero_shot_num_objects"] == 15 and published["zero_shot_num_objects"] == 15 + 40
    assert published["zero_shot_split"] == "train and test"
    assert sound["svm_num_train_objects"] == 45 and published["svm_num_train_objects"] == 40


def test_the_published_freeze_leaks(launch):
    weights = launch("epochs=1", name="pretrained")[1] / "ckpt-last.pth"
    before = torch.load(weights, weights_only=True)["base_model"]
    options = ("task=classify", "--ckpts", weights, "classifier.freeze=backbone", "epochs=2")
    code, folder = launch(*options, "protocol=published", name="published")
    after = torch.load(folder / "ckpt-last.pth", weights_only=True)["base_model"]
    moved = {key for key in before if key.startswith("encoder.") and not torch.equal(before[key], after[key])}
    assert code == 0 and {"encoder.query_tokens", "encoder.query_positions"} <= moved
    assert all("query" in key or "running" in key or "num_batches" in key for key in moved)
    assert any("running_mean" in key for key in moved)
    for key in ("encoder.query_tokens", "encoder.query_positions"):
        assert torch.equal(before[key][:, 1:], after[key][:, 1:]) and not torch.equal(before[key], after[key])
