"""Configs -> networks of the published sizes."""

import pytest

from pointrecon.tools.build import build_classifier, build_pretrainer
from pointrecon.utils.config import load_config
from pointrecon.utils.errors import InputError
from tests import ROOT

CFGS = ROOT / "cfgs"


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("size", "millions"), [("base", 43.57), ("small", 19.73), ("tiny", 11.35)])
def test_the_published_sizes(size, millions):
    cfg = load_config(CFGS / "pretrain" / f"{size}.yaml")
    assert count(build_classifier(cfg, num_classes=15)) / 1e6 == pytest.approx(millions, abs=0.005)


def test_base_pretrains_with_the_published_settings():
    cfg = load_config(CFGS / "pretrain" / "base.yaml")
    model = build_pretrainer(cfg, {"image": 768, "text": 512})
    assert count(model) / 1e6 == pytest.approx(50.8, abs=0.05)
    assert model.num_masked == 38 and model.encoder.stop_grad and not model.encoder.embed_masked
    assert len(model.encoder.blocks) == 12 and len(model.decoder.blocks) == 4
    assert (cfg.optim.lr, cfg.optim.weight_decay, cfg.optim.warmup_epochs, cfg.batch_size) == (5e-4, 0.05, 10, 128)
    assert cfg.loss.image.type == cfg.loss.text.type == "smooth_l1" and not cfg.loss.image.normalize


def test_classifiers_never_stop_the_gradient():
    assert not build_classifier(load_config(CFGS / "quickstart" / "finetune.yaml"), 20).encoder.stop_grad


@pytest.mark.parametrize("key", ["embed_dim", "depth", "num_heads", "num_groups", "group_size"])
def test_sizes_that_no_network_has(key):
    with pytest.raises(InputError, match=f"model.{key}.* is 0, but must be at least"):
        build_classifier(load_config(CFGS / "pretrain" / "tiny.yaml", [f"model.{key}=0"]), 15)
