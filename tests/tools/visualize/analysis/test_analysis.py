"""Numbers of the figures that are known beforehand, and the pictures."""

import json

import numpy as np
import pytest
import torch
import yaml

from pointrecon.models.patches.grouping import PointGroup
from pointrecon.tools.visualize.analysis import attention, cka, gradients, losses, reconstruction, share
from pointrecon.tools.visualize.analysis.__main__ import OF_NETWORKS, main
from pointrecon.tools.visualize.analysis.panels import numbers
from pointrecon.tools.visualize.analysis.subjects import batches, clouds, epoch_of, open_subjects, snapshots, spread
from pointrecon.utils.errors import InputError


def test_cka_of_a_rotation_is_one():
    random = np.random.RandomState(0)
    x = random.randn(200, 6)
    rotation, _ = np.linalg.qr(random.randn(6, 6))
    assert cka.linear_cka(x, 3 * x @ rotation + 5) == pytest.approx(1)
    assert cka.linear_cka(x, x * [10, 1, 1, 1, 1, 1]) < 0.9  # another metric is another view
    assert cka.linear_cka(x, random.randn(200, 6)) < 0.1
    assert np.isnan(cka.linear_cka(x, np.ones((200, 2))))


def test_cka_by_hand():
    """The kernel form of the definition, HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))."""
    random = np.random.RandomState(1)
    x, y = random.randn(20, 3), random.randn(20, 4)
    y[:, :2] += x[:, :2]
    center = np.eye(20) - 1 / 20
    one, other = center @ x @ x.T @ center, center @ y @ y.T @ center
    assert cka.linear_cka(x, y) == pytest.approx((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum()))


def test_streams_are_what_the_encoder_gives(subjects):
    encoder = subjects[0].network.encoder
    _, points = clouds(subjects[0], "test", 5)
    found = cka.streams(encoder, points)
    with torch.no_grad():
        queries, tokens, _ = encoder.forward_blocks(*encoder.group(points))
    np.testing.assert_allclose(found["local"][-1], tokens.mean(dim=1), atol=1e-6)
    np.testing.assert_allclose(found["global"][-1], queries.flatten(1), atol=1e-6)
    assert len(found["local"]) == len(found["global"]) == len(encoder.blocks)


def test_cka_of_networks(subjects):
    found = cka.measure(subjects, count=40, split="pretrain")
    for values in found["networks"].values():
        assert np.diag(values) == pytest.approx(1) and values == pytest.approx(values.T)
    assert set(found["streams"]) == {"both", "alone", "random"} and found["num_objects"] == 40


def test_distance_of_uniform_attention_is_the_mean_distance(subjects):
    encoder = subjects[2].network.encoder
    saved = {name: x.clone() for name, x in encoder.state_dict().items()}
    for name, weight in encoder.named_parameters():
        if "qkv" in name or ".q.weight" in name or ".kv" in name:
            weight.zero_()
    _, points = clouds(subjects[0], "test", 4)
    found = attention.distances(encoder, points)
    encoder.load_state_dict(saved)
    centers = PointGroup(8, 4)(points)[1]
    mean = float(torch.stack([torch.cdist(x, x).mean() for x in centers]).mean())
    assert found["uniform"] == pytest.approx(mean, rel=1e-5)
    for stream in ("local", "global"):
        assert found[stream].shape[0] == 2 and found[stream] == pytest.approx(mean, rel=1e-4)


def test_networks_without_two_streams_are_left_out(subjects, caplog):
    from dataclasses import replace

    from pointrecon.models.decoder import MaskedDecoder
    from pointrecon.models.encoder import PointEncoder
    from pointrecon.models.recon import ReCon

    encoder = PointEncoder(24, 2, 2, 8, 4, block="SharedBlock")
    shared = replace(subjects[0], name="shared", network=ReCon(encoder, MaskedDecoder(24, 1, 2, 4)).eval())
    assert list(attention.measure([subjects[1], shared], count=3)) == ["alone"] and "shared is left out" in caplog.text
    with pytest.raises(InputError, match="none of the networks has attention in two streams"):
        attention.measure([shared], count=3)
    # CKA needs no attention, and one stream has queries and patches too.
    assert len(cka.measure([shared], count=8, split="test")["streams"]["shared"]) == 2


def test_a_loss_pulls_the_way_of_itself(subjects):
    network = subjects[0].network
    shown = next(batches(subjects[0], "pretrain", count=8, batch_size=8))

    class Twice(type(network)):
        def forward(self, *args, **options):
            chamfer = super().forward(*args, **options)["chamfer"]
            return {"chamfer": chamfer, "text": sign * 2 * chamfer}

    kind, network.__class__ = network.__class__, Twice
    try:
        for sign in (1, -1):
            for product, one, other in gradients.conflict(network, shown).values():
                assert gradients.cosine(product, one, other) == pytest.approx(sign)
                assert (other / one) ** 0.5 == pytest.approx(2)
    finally:
        network.__class__ = kind
    assert np.isnan(gradients.cosine(0.0, 0.0, 1.0))


def test_gradients_leave_the_network_as_it_was(subjects):
    network = subjects[0].network
    before = {name: x.clone() for name, x in network.state_dict().items()}
    shown = next(batches(subjects[0], "pretrain", count=8, batch_size=8))
    found = gradients.conflict(network, shown)
    assert list(found) == ["patches", "positions", "1", "2", "norm"]
    # The stop is off while it is measured: both losses reach every layer.
    assert all(one > 0 and other > 0 for _, one, other in found.values())
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())
    assert network.encoder.stop_grad is True and not network.training
    assert not any(weight.requires_grad for weight in network.parameters())


def test_gradients_by_epoch(subjects):
    found = gradients.measure(subjects, num_batches=2, batch_size=8)
    assert set(found) == {"both", "random"}  # `alone` has one loss
    item = found["both"]
    assert item["epochs"] == [1, 2] and item["cosine"].shape == (2, 5) and item["passed"] == 0
    assert (np.abs(item["cosine"]) <= 1).all() and (item["low"] <= item["high"]).all() and (item["ratio"] > 0).all()
    with pytest.raises(InputError, match="both reconstruction and contrast"):
        gradients.measure(subjects[1:2])


def test_reconstruction_errors(subjects):
    found = reconstruction.measure(subjects, count=12)
    item = found["networks"]["alone"]["test"]
    assert item["low"] < item["mean"] < item["high"] and item["num_objects"] == 12
    both = found["networks"]["both"]["test"]
    assert both["difference"]["mean"] == both["difference"]["high"] == 0
    assert item["difference"]["mean"] == pytest.approx(item["mean"] - both["mean"])
    # A decoder that says nothing is the guess.
    network = subjects[2].network
    for weight in network.decoder.coords.parameters():
        weight.zero_()
    errors, guess = reconstruction.errors_of(network, clouds(subjects[0], "test", 3)[1])
    assert errors == pytest.approx(guess) and (guess > 0).all()


def test_losses_of_each_checkpoint(subjects):
    found = losses.measure(subjects[:2], count=8, batch_size=8, draws=1)
    both = found["both"]
    assert both["epochs"] == [1, 2] and list(both["train"]) == list(both["held_out"]) == ["chamfer", "image", "text"]
    assert all(len(values) == 2 for values in both["train"].values()) and both["course"]["epoch"] == [1, 2]
    assert list(found["alone"]["train"]) == ["chamfer"]


def test_subjects(analysed, subjects):
    assert [epoch_of(stage) for stage in snapshots(subjects[0])] == [1, 2] and epoch_of(subjects[2]) == 0
    one, other = ({k: x for k, x in s.network.state_dict().items() if k.endswith("weight")} for s in subjects[::2])
    assert any(not torch.equal(one[key], other[key]) for key in one)
    assert spread(10, 3) == [0, 4, 9] and spread(2, 5) == [0, 1]
    with pytest.raises(InputError, match="comes first"):
        open_subjects(["random"])
    with pytest.raises(InputError, match="two networks are called 'a'"):
        open_subjects([f"a={analysed}/both", f"a={analysed}/alone"])
    with pytest.raises(InputError, match=r"give a run folder with ckpt-last\.pth"):
        open_subjects([str(analysed)])


def test_held_out_objects_are_centred_by_the_mean_of_training(subjects):
    """A teacher says the same of an object whichever split it is asked in."""
    mean = torch.full((10,), 100.0)
    from dataclasses import replace

    moved = replace(subjects[0], means={"image": mean}, config={**subjects[0].config})
    moved.config["teachers"]["image"]["center"] = True
    shown = next(batches(moved, "test", count=4, batch_size=4))
    assert shown.targets["image"].mean() < -90


def test_one_command(analysed, tmp_path, capsys, check_picture):
    places = [f"{name}={analysed / name}" for name in ("both", "alone")]
    assert main(["all", *places, "--out", str(tmp_path), "--objects", "16"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(OF_NETWORKS)
    for name in OF_NETWORKS:
        check_picture(tmp_path / f"{name}.png")
        assert json.loads((tmp_path / f"{name}.json").read_text())["figure"] == name


def test_mistakes_are_one_sentence(analysed, tmp_path, capsys):
    out = ["--out", str(tmp_path)]
    assert main(["gradients", str(analysed / "alone"), *out]) == 2
    assert main(["cka", str(analysed / "both"), "--objects", "1", *out]) == 2
    assert main(["cka", str(analysed / "both"), "--set", "data_rot=x", *out]) == 2
    assert main(["share", "a.yaml", "b.yaml", *out]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 4 and not list(tmp_path.iterdir())


def test_accuracy_against_a_setting(tmp_path, monkeypatch, check_picture):
    """The numbers of rows at each value of a key, one line for each value of another."""
    from pointrecon.tools.sweeps.summary import Record

    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.dump({"task": "pretrain", "data_root": str(tmp_path)}))
    rows = [
        {"name": f"{word}_{ratio}", "overrides": [f"data.options.ratio={ratio}", f"model.stop_grad={word}"]}
        for word in ("true", "false") for ratio in (0.1, 0.5)
    ]  # fmt: skip
    rows.append({"name": "whole"})
    table = tmp_path / "table.yaml"
    tree = {"pretrain": {"config": "tiny.yaml"}, "rows": rows, "downstream": [{"name": "svm", "config": "tiny.yaml"}]}
    table.write_text(yaml.dump(tree))
    values = {row["name"]: number / 10 for number, row in enumerate(rows)}
    records = [Record(name, "svm", 0, fold, 0, value + fold / 100) for name, value in values.items() for fold in (0, 1)]
    monkeypatch.setattr(share, "collect", lambda *_: (records, {}, {}))
    found = share.measure(table, out=tmp_path)
    lines = found["metrics"]["svm"]
    assert lines["model.stop_grad=true"]["x"] == [0.1, 0.5, 1.0]
    assert lines["model.stop_grad=true"]["mean"] == pytest.approx([0.005, 0.105, 0.405])
    assert lines["model.stop_grad=false"]["rows"] == ["false_0.1", "false_0.5"]
    check_picture(share.draw_share(found, tmp_path / "share.png"))
    with pytest.raises(InputError, match="must be a number"):
        share.measure(table, key="model.type", out=tmp_path)
    with pytest.raises(InputError, match="nothing is measured as 'sv'"):
        share.measure(table, metrics=["sv"], out=tmp_path)


def test_numbers_are_plain():
    assert numbers({"a": np.array([1.23456789, np.nan]), "b": (1, "x", None)}) == {
        "a": [1.23457, None],
        "b": [1, "x", None],
    }


def test_random_weights_have_statistics_of_objects(subjects):
    """Batch-norms that have seen nothing would show the next layer numbers as no training does."""
    variances = [x for name, x in subjects[2].network.encoder.named_buffers() if name.endswith("running_var")]
    assert variances and all((value != 1).all() for value in variances)
