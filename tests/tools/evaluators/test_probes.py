"""Evaluators at work while a network trains, through main.py on the miniature."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from tests import ROOT

PROBES = "evaluators={svm: {every: 2}, words: {type: zero_shot, every: 3}, few: {type: svm, shots: 2, draws: 2}}"


def records(folder, split):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [record for record in lines if record["split"] == split]


def result(folder):
    return json.loads((folder / "result.json").read_text())


def checkpoint(folder, name="ckpt-last.pth"):
    return torch.load(folder / name, weights_only=True)


def test_each_at_its_own_pace(launch):
    code, folder = launch("epochs=4", PROBES)
    probed = records(folder, "probe")
    assert code == 0 and [record["epoch"] for record in probed] == [2, 3, 4]
    assert ["svm_accuracy" in record for record in probed] == [True, False, True]
    assert ["words_accuracy" in record for record in probed] == [False, True, False]
    assert not any("few_accuracy" in record for record in probed)
    final = result(folder)
    assert final["svm_accuracy"] == probed[-1]["svm_accuracy"] and {"words_accuracy", "few_accuracy"} <= final.keys()
    assert (folder / "predictions-words.npz").is_file()
    assert f"epoch 2: svm_accuracy {probed[0]['svm_accuracy']:.4f}" in (folder / "log.txt").read_text()


FROZEN = ("task=classify", "classifier.freeze=backbone", "model.drop_path=0.3")


@pytest.mark.parametrize(
    "options, evaluators", [((), PROBES), (FROZEN, "evaluators={svm: {every: 1}}")], ids=["pretrain", "frozen"]
)
def test_training_does_not_notice(launch, options, evaluators):
    whole = launch("epochs=3", *options, name="plain")[1]
    probed = launch("epochs=3", *options, evaluators, name="probed")[1]
    assert not records(whole, "probe") and len(records(probed, "probe")) >= 2
    before, after = checkpoint(whole), checkpoint(probed)
    assert all(torch.equal(value, after["base_model"][key]) for key, value in before["base_model"].items())
    assert torch.equal(before["random_state"]["torch"], after["random_state"]["torch"])
    losses = [[record["loss"] for record in records(folder, "train")] for folder in (whole, probed)]
    assert losses[0] == losses[1]


def test_an_average_of_the_weights_is_what_probes_see(launch):
    code, folder = launch("epochs=2", "ema.decay=0.5", "evaluators={svm: {every: 1}}")
    assert code == 0 and records(folder, "probe")[-1]["svm_accuracy"] == result(folder)["svm_accuracy"]


def test_a_resumed_run_goes_on_probing(launch):
    options = ("evaluators={svm: {every: 1}}", "optim.warmup_epochs=0")
    whole = launch("epochs=3", *options, name="whole")[1]
    folder = launch("epochs=3", "keep_epochs=[1]", *options, name="part")[1]
    (folder / "ckpt-epoch-1.pth").rename(folder / "ckpt-last.pth")
    code, folder = launch("epochs=3", "keep_epochs=[1]", *options, "--resume", name="part")
    assert code == 0 and records(folder, "probe") == records(whole, "probe")


def test_one_may_choose_the_checkpoint_on_validation_objects(launch):
    code, folder = launch("epochs=4", "select=svm", "evaluators={svm: {every: 2}}", "data.val_fraction=0.2")
    chosen, final = records(folder, "val"), result(folder)
    assert code == 0 and [record["epoch"] for record in chosen] == [2, 4] and not records(folder, "probe")
    assert {record["svm_num_objects"] for record in chosen} == {9}  # a fifth of 15 a class
    assert {record["svm_num_train_objects"] for record in chosen} == {36}
    assert final["svm_num_objects"] == 15 and final["svm_num_train_objects"] == 36
    assert final["select"] == "svm" and final["select_split"] == "val" and "note" not in final
    best = checkpoint(folder, "ckpt-best.pth")
    assert best["epoch"] == final["epoch"]
    assert best["best_metrics"]["svm_accuracy"] == max(record["svm_accuracy"] for record in chosen)
    assert "56 samples" in (folder / "log.txt").read_text()  # of 65


def test_on_test_objects_only_where_that_is_said_and_the_result_says_so(launch):
    options = ("epochs=2", "select=svm", "evaluators={svm: {split: test}}")
    code, folder = launch(*options)
    assert code == 0 and len(records(folder, "test")) == 3
    assert "chosen on the test split" in result(folder)["note"] and result(folder)["select_split"] == "test"
    assert "65 samples" in (folder / "log.txt").read_text()  # nothing is held out


def test_objects_of_another_data_set_are_held_out_there_alone(launch):
    data = "evaluators={svm: {data: {type: SweetHome3D}, every: 1}}"
    code, folder = launch("epochs=1", "data.type=RandomShapes", "teachers={image: null, text: null}", data)
    assert code == 0 and result(folder)["svm_num_objects"] == 15
    code, folder = launch(
        "epochs=1", "data.type=RandomShapes", "teachers={image: null, text: null}", data, "select=svm", name="chosen"
    )
    assert code == 0 and records(folder, "val")[0]["svm_num_train_objects"] == 39


BAD = {
    "no such evaluator": (["select=svm", "evaluators={few: {type: svm}}"], "select is 'svm', but must be one of"),
    "no metric": (["select=val"], "task=pretrain has no metric of its own"),
    "nothing measured": (["select=embeddings", "evaluators={embeddings: {}}"], "nothing that could choose"),
    "on training objects": (["select=svm", "evaluators={svm: {split: train}}"], "evaluators.svm.split is 'train'"),
    "no epochs between": (["evaluators={svm: {every: 0}}"], "evaluators.svm.every is 0"),
    "half an epoch": (["evaluators={svm: {every: 0.5}}"], "evaluators.svm.every is 0.5, but must be a whole number"),
    "nothing trained": (["task=evaluate", "epochs=0", "evaluators={svm: {every: 2}}"], "nothing is trained"),
    "spaces that differ": (["evaluators={zero_shot: {query: both}}"], "10 and 6 values"),
    "a teacher that is off": (["evaluators={zero_shot: {}}", "teachers.text=null"], "teachers.text is null"),
    "a projection that is not there": (
        ["evaluators={zero_shot: {query: image}}", "teachers.image=null"],
        "no projection of the image query",
    ),
    "too many points": (["evaluators={svm: {data: {num_points: 65}}}"], "data.num_points is 65"),
}


@pytest.mark.parametrize("arguments, hint", BAD.values(), ids=BAD.keys())
def test_bad_input_ends_with_one_sentence_before_training(launch, capsys, arguments, hint):
    code, folder = launch("epochs=1", *arguments) if "epochs=0" not in arguments else launch(*arguments)
    error = capsys.readouterr().err.strip()
    assert code == 2 and error.startswith("error: ") and "\n" not in error and hint in error, error
    assert not folder.exists()


@pytest.mark.slow
def test_several_processes_find_what_one_does(launch, tmp_path, data_root):
    """The network stands still, so that the numbers of processes can be compared to the last digit."""
    still = ("optim.lr=0", "optim.warmup_lr=0", "optim.min_lr=0", "epochs=2", "batch_size=12", "model.drop_path=0")
    frozen = ("task=classify", "classifier.freeze=backbone", *still)
    evaluators = "evaluators={svm: {every: 1}, few: {type: svm, shots: 3, draws: 3, every: 2}, embeddings: {}}"
    folders = [launch(*frozen, evaluators, name="of1")[1]]
    config = tmp_path / "cfgs" / "tiny.yaml"
    for number in (2, 3):
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={number}"]
        command = [*launcher, "main.py", "--config", str(config), "--exp_name", f"of{number}", *frozen, evaluators]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        folders.append(launch.folder(f"of{number}"))
    tables = [records(folder, "probe") for folder in folders]
    assert len(tables[0]) == 2 and tables[0] == tables[1] == tables[2]
    assert len({table[1]["few_accuracy"] for table in tables}) == 1
    embeddings = [np.load(folder / "embeddings.npz") for folder in folders]
    for other in embeddings[1:]:
        assert all((embeddings[0][name] == other[name]).all() for name in embeddings[0].files)
