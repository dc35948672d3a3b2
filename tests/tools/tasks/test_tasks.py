"""The tasks through main.py, on the miniature."""

import hashlib
import json

import numpy as np
import pytest
import torch

from pointrecon.tools.checkpoints import checkpoint
from pointrecon.tools.tasks.pretrain import each_unlabelled_its_own
from tests.miniature import run_main


def result(folder):
    return json.loads((folder / "result.json").read_text())


def weights(folder):
    return torch.load(folder / "ckpt-last.pth", weights_only=True)["base_model"]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, data_root):
    """A checkpoint after three epochs; not to be changed."""
    return run_main(tmp_path_factory.mktemp("pretrained"), data_root, "epochs=3") / "ckpt-last.pth"


def test_pretrain_then_everything_else(launch, pretrained):
    init = ("--ckpts", pretrained)
    code, folder = launch("task=classify", "epochs=20", *init, name="finetune")
    assert code == 0 and result(folder)["accuracy"] > 0.5  # chance is a third
    with np.load(folder / "predictions.npz") as file:
        assert np.mean(file["labels"] == file["predictions"]) == pytest.approx(result(folder)["accuracy"])
    evaluators = "evaluators={zero_shot: {}, svm: {}, few: {type: svm, shots: 2, draws: 2}, embeddings: {}}"
    code, folder = launch("task=evaluate", "epochs=0", evaluators, *init, name="evaluate")
    assert code == 0
    found = result(folder)
    wanted = {"zero_shot_accuracy", "zero_shot_num_objects", "svm_accuracy", "svm_mean_class_accuracy", "few_accuracy"}
    assert wanted <= found.keys()
    code, folder = launch("task=evaluate", "epochs=0", "evaluators={svm: {}}", name="random")
    assert code == 0 and not (folder / "ckpt-last.pth").exists()


def test_frozen_means_frozen(launch, pretrained):
    before = torch.load(pretrained, weights_only=True)["base_model"]
    options = ("task=classify", "classifier.freeze=backbone", "classifier.head=linear", "model.drop_path=0.5")
    code, folder = launch(*options, "--ckpts", pretrained, name="probe")
    after = weights(folder)
    assert code == 0
    encoder = [key for key in before if key.startswith("encoder.")]
    assert any("running_mean" in key for key in encoder)
    assert all(torch.equal(before[key], after[key]) for key in encoder)
    code, other = launch(*options[:1], "--ckpts", pretrained, "model.drop_path=0.5", name="full")
    assert any(not torch.equal(before[key], weights(other)[key]) for key in encoder)


def test_few_shots_train_on_few(launch, pretrained, capsys):
    code, folder = launch("task=classify", "--ckpts", pretrained, "data.shots=4", name="few")
    assert code == 0 and "12 samples" in (folder / "log.txt").read_text()
    code, _ = launch("task=classify", "data.shots=100", name="many")
    assert code == 2 and "100" in capsys.readouterr().err


def test_a_teacher_can_be_switched_off(launch):
    code, folder = launch("teachers.image=null", "epochs=1")
    assert code == 0
    assert not any(key.startswith("image_proj") for key in weights(folder))
    assert "train_image" not in result(folder) and "train_text" in result(folder)


def test_class_wise_contrast_and_l1(launch):
    code, folder = launch("loss.contrast.weight=1", "loss.chamfer.type=l1", "model.mask_type=block", "epochs=1")
    assert code == 0 and result(folder)["train_self"] > 0


def test_bf16_trains(launch):
    code, folder = launch("precision=bf16", "epochs=4")
    losses = [
        json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines() if "train" in line
    ]
    assert code == 0 and losses[-1] < losses[0]
    assert all(value.dtype != torch.bfloat16 for value in weights(folder).values())


def test_reconstructions_are_written_for_test_objects(launch):
    code, folder = launch("epochs=2", "figures=svg", "evaluators={svm: {every: 1}}")
    assert code == 0
    with np.load(folder / "reconstructions.npz") as file:
        assert file["points"].shape == (8, 48, 3) and file["patches"].shape == (8, 8, 4, 3)
        assert file["mask"].sum(axis=1).tolist() == [4] * 8 and file["rebuilt"].shape == (8, 4, 4, 3)
    assert (folder / "figures" / "curves.svg").is_file() and (folder / "figures" / "reconstruction.svg").is_file()
    assert not list((folder / "figures").glob("*.png"))


def test_a_folder_without_classes_is_pretrained_on(launch, tmp_path):
    """It has no test part."""
    own = tmp_path / "own"
    own.mkdir()
    for row, name in enumerate(("chair", "lamp", "sofa")):
        np.save(own / f"{name}.npy", np.random.RandomState(row).randn(64, 3))
    data = (f"data.root={own}", "data.type=Folder", "data.options.num_stored=64", "data.options.jobs=1")
    code, folder = launch(*data, "teachers={image: null, text: null}", "batch_size=3", "epochs=1", "figures=true")
    assert code == 0 and result(folder)["train_chamfer"] > 0
    with np.load(folder / "reconstructions.npz") as file:
        assert set(file["names"]) == {"chair", "lamp", "sofa"}
    assert (folder / "figures" / "reconstruction.png").is_file()


BAD = {
    "an unknown format of figures": (["figures=gif"], "svg"),
    "a misspelt key": (["optim.lrr=1"], "optim.lr"),
    "a misspelt flag": (["--ckpt", "x"], "--ckpts"),
    "a misspelt type": (["data.type=SweetHome"], "SweetHome3D"),
    "a misspelt task": (["task=pretrian"], "pretrain"),
    "a misspelt choice": (["model.mask_type=blok"], "block"),
    "a missing checkpoint": (["--ckpts", "none.pth"], "none.pth"),
    "a missing data root": (["data_root=/nowhere"], "/nowhere"),
    "a batch larger than the data set": (["batch_size=100"], "65 shapes"),
    "fewer points than groups": (["model.num_groups=50"], "48 points"),
    "more points than stored": (["data.num_points=65"], "64 points"),
    "what the data set cannot do": (["data.way=5"], "data.way is 5, but SweetHome3D has no few-shot settings"),
    "heads that do not divide": (["model.num_heads=5"], "5 heads"),
    "a mask of nothing": (["model.mask_ratio=0.01"], "mask_ratio"),
    "selection without labels": (["select=val"], "select"),
    "nothing to evaluate": (["task=evaluate", "epochs=0"], "evaluators"),
    "an unknown evaluator": (["task=evaluate", "epochs=0", "evaluators={svn: {}}"], "svm"),
    "too few outputs": (["task=classify", "classifier.num_classes=2"], "has 3 classes"),
    "a batch of one": (["task=classify", "batch_size=1"], "classifier.head=linear"),
    "a device that is not there": (["device=cuda:99"], "device"),
}


@pytest.mark.parametrize("arguments, hint", BAD.values(), ids=BAD.keys())
def test_bad_input_ends_with_one_sentence_and_leaves_nothing(launch, capsys, arguments, hint):
    code, folder = launch(*arguments)
    error = capsys.readouterr().err.strip()
    assert code == 2
    assert error.startswith("error: ") and "\n" not in error and hint in error, error
    assert not folder.exists()


def test_a_checkpoint_of_another_size(launch, pretrained, capsys):
    code, folder = launch("task=classify", "--ckpts", pretrained, "model.embed_dim=32", name="other")
    assert (
        code == 2 and "model.embed_dim is 24 in the file and 32 here" in capsys.readouterr().err and not folder.exists()
    )


def test_a_network_without_a_head_is_not_tested(launch, pretrained, capsys):
    code, folder = launch("task=classify", "--test", "--ckpts", pretrained, name="tested")
    assert code == 2 and "it lacks head" in capsys.readouterr().err and not folder.exists()


def test_labels_of_their_own_lie_where_the_labels_lie():
    assert each_unlabelled_its_own(torch.tensor([3, -1, -1]), rank=1).tolist() == [3, -5, -6]
    assert each_unlabelled_its_own(torch.zeros(3, dtype=torch.long, device="meta")).device.type == "meta"


def test_a_result_says_how_it_came_about(launch, pretrained):
    code, folder = launch("task=classify", "--ckpts", pretrained, "data.shots=4", "--seed", 3, name="told")
    found = result(folder)
    assert code == 0 and found["run"] == "told" and found["config"] == "cfgs/tiny.yaml" and found["seed"] == 3
    assert found["data"]["type"] == "SweetHome3D" and found["data"]["shots"] == 4 and found["data"]["fold"] is None
    assert found["checkpoint"]["path"] == str(pretrained) and found["checkpoint"]["epoch"] == 3
    assert found["checkpoint"]["sha256"] == hashlib.sha256(pretrained.read_bytes()).hexdigest()
    assert len(found["commit"]["commit"]) == 40
    low, high = found["accuracy_interval"]
    assert 0 <= low <= found["accuracy"] <= high <= 1 and found["num_objects"] == 15
    classes = found["class_accuracy"]
    assert classes.keys() == {"ball", "plate", "rod"} and all(value["num_objects"] == 5 for value in classes.values())
    assert np.mean([value["accuracy"] for value in classes.values()]) == pytest.approx(found["accuracy"])
    with np.load(folder / "predictions.npz") as file:
        assert file["probabilities"].shape == (15, 3)
        assert file["probabilities"].sum(axis=1) == pytest.approx(np.ones(15), abs=1e-6)
        assert (file["probabilities"].argmax(axis=1) == file["predictions"]).all()
    content = torch.load(folder / "ckpt-last.pth", weights_only=True)
    assert content["class_names"] == ["ball", "plate", "rod"]
    code, folder = launch("epochs=1", name="random")
    assert result(folder)["checkpoint"] is None


def test_test_objects_that_the_checkpoint_has_seen_are_named(launch, pretrained):
    """The pretraining split has four of five objects of a fold's test part: they are test objects there alone."""
    svm = ("task=evaluate", "epochs=0", "evaluators={svm: {}}", "--ckpts", pretrained)
    assert "seen_in_training" not in result(launch(*svm, name="bundled")[1])
    code, folder = launch(*svm, "data.fold=0", name="fold")
    counts = result(folder)["seen_in_training"]["svm"]
    assert code == 0 and counts["num_objects"] == 12 and 0 < counts["num_seen"] < 12
    assert f"{counts['num_seen']} of the 12 objects that 'svm' measures" in (folder / "log.txt").read_text()
    # What a fine-tuned network was pretrained on counts too, and what this run trains on.
    tuned = launch("task=classify", "epochs=1", "--ckpts", pretrained, name="tuned")[1] / "ckpt-last.pth"
    code, folder = launch("task=classify", "--test", "data.fold=0", "--ckpts", tuned, name="tested")
    assert code == 0 and result(folder)["seen_in_training"] == {"test": counts}
    probe = "evaluators={svm: {data: {fold: 0}}}"
    assert result(launch("epochs=1", probe, name="probed")[1])["seen_in_training"] == {"svm": counts}


def test_an_older_checkpoint_is_judged_by_its_config(launch, pretrained, tmp_path):
    content = torch.load(pretrained, weights_only=True)
    svm = ("task=evaluate", "epochs=0", "evaluators={svm: {}}", "data.fold=0", "--ckpts")
    counts = result(launch(*svm, pretrained, name="new")[1])["seen_in_training"]
    old = tmp_path / "old.pth"
    torch.save({key: value for key, value in content.items() if key != "seen_objects"}, old)
    assert result(launch(*svm, old, name="old")[1])["seen_in_training"] == counts
    torch.save({"base_model": content["base_model"]}, old)  # says nothing
    code, folder = launch(*svm, old, name="silent")
    assert code == 0 and "seen_in_training" not in result(folder)


def test_a_checkpoint_is_read_once(launch, pretrained, monkeypatch):
    read, original = [], checkpoint.read_weights
    monkeypatch.setattr(checkpoint, "read_weights", lambda path, *more: read.append(path) or original(path, *more))
    code, _ = launch("task=evaluate", "epochs=0", "evaluators={zero_shot: {}}", "--ckpts", pretrained, name="once")
    assert code == 0 and len(read) == 1
    code, _ = launch("task=classify", "epochs=1", "--ckpts", pretrained, name="tuned")
    assert code == 0 and len(read) == 2


@pytest.mark.parametrize("votes", [0, 2])
def test_weights_that_a_step_has_made_useless_have_no_accuracy(launch, capsys, votes):
    """The losses before the last step were finite, and so are the weights; what they give is not."""
    huge = ("optim.lr=1e30", "optim.warmup_lr=1e30", "optim.warmup_epochs=0", "optim.grad_clip=null")
    steps = ("epochs=1", "batch_size=45")
    code, folder = launch("task=classify", *steps, *huge, f"num_votes={votes}", name="huge")
    told = capsys.readouterr().err
    assert code == 2 and "logits of" in told and "objects are not finite" in told and told.count("\n") == 1, told
    assert not (folder / "predictions.npz").exists() and not (folder / "result.json").exists()
    for kind in ("svm", "knn"):
        evaluators = ("task=evaluate", "epochs=0", f"evaluators={{{kind}: {{}}}}")
        code, _ = launch(*evaluators, "--ckpts", folder / "ckpt-last.pth", name=kind)
        told = capsys.readouterr().err
        assert code == 2 and "features of" in told and "are not finite" in told and told.count("\n") == 1, told
