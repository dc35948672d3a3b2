"""The ReCon++ configs on OpenShape's objects, from main.py: trained, interrupted, resumed to the same bits."""

import json

import pytest
import torch

from pointrecon.datasets.open.neighbours import write_neighbours
from pointrecon.datasets.open.shards import OpenShards
from pointrecon.tools.training import runner
from tests.datasets.open.layouts import MINI


class Killed(BaseException):
    """Stands for a signal: nothing in the program may catch it."""


def weights(folder):
    return torch.load(folder / "ckpt-last.pth", weights_only=True)["base_model"]


@pytest.mark.parametrize("config", ["zeroshot_base", "transfer_base"])
def test_a_config_trains_and_resumes_to_the_same_bits(launch, monkeypatch, config):
    code, folder = launch(f"reconpp/{config}", "figures=false")
    assert code == 0
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [
        value for record in records for key, value in record.items() if key.endswith(("chamfer", "image", "text"))
    ]
    assert losses and all(0 < value < float("inf") for value in losses)
    assert ("color" in json.dumps(records)) == (config == "zeroshot_base")
    whole = weights(folder)
    assert whole["image_proj.weight"].shape == (16, 24)
    assert whole["encoder.patch_embed.fc1.weight"].shape[1] == (6 if config == "zeroshot_base" else 3)
    train_step = runner.Runner.train_step

    def killed_at_three(self, *arguments):
        if self.state.step == 3:  # in the middle of the second epoch
            raise Killed
        train_step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(runner.Runner, "train_step", killed_at_three)
        with pytest.raises(Killed):
            launch(f"reconpp/{config}", "figures=false", "save_every=1", name="b")
    code, folder = launch(f"reconpp/{config}", "figures=false", "save_every=1", "--resume", name="b")
    assert code == 0
    resumed = weights(folder)
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_all_options_at_once(launch, root):
    write_neighbours(MINI / "meta_data" / "point_feat_knn.npy", OpenShards(root / "openshape" / "shards"))
    code, folder = launch(
        "reconpp/zeroshot_base",
        "epochs=1",
        "num_workers=1",
        "data.options={captions: published, neighbours: 1, objects: train_all, ratio: 0.9}",
        "data.augment.up=-x",
        "loss.image.type=multi_infonce",
        "loss.text.type=multi_infonce",
        "model.queries={image: 1, text: 1}",
        "teachers.image.center=true",
        "teachers.text.draws=1",
        "teachers.text.center=true",
    )
    assert code == 0 and (folder / "reconstructions.npz").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("data.options.shards=nowhere",), "manifest.json"),
        (("data.options.objects=nowhere",), "nowhere.json"),
        (("data.num_points=65", "model.num_groups=12"), "have 64 points"),
        (("batch_size=9",), "the training split has 8 shapes"),
        (("data.options.neighbours=2",), "--neighbours"),
    ],
)
def test_mistakes_are_one_sentence(launch, root, capsys, arguments, message):
    (root / "openshape" / "shards" / "neighbours.safetensors").unlink(missing_ok=True)
    code, _ = launch("reconpp/zeroshot_base", *arguments)
    assert code == 2 and message in capsys.readouterr().err
