"""Published ReCon++ files in this project's networks, and back: what fits, what stays, what is refused."""

import pytest
import torch

from pointrecon.tools.build import build_classifier, build_pretrainer, build_segmenter
from pointrecon.tools.checkpoints.adopt import adopt_sizes
from pointrecon.tools.checkpoints.checkpoint import load_weights, read_checkpoint
from pointrecon.tools.checkpoints.convert import convert
from pointrecon.tools.checkpoints.pretrained import load_pretrained
from pointrecon.utils.config import load_config
from pointrecon.utils.errors import InputError
from tests import ROOT

FOLDER = ROOT / "tests" / "fixtures" / "reconpp_tiny"
ZERO_SHOT, CAUSAL = FOLDER / "zeroshot.pth", FOLDER / "causal.pth"
HEADS = ["model.num_heads=4", "model.decoder_num_heads=4", "data.num_points=60", "model.num_groups=12"]


def config(name, init, *changes):
    """A config of cfgs/reconpp with the sizes of a checkpoint."""
    given = [*HEADS, *changes]
    cfg = load_config(ROOT / "cfgs" / "reconpp" / f"{name}.yaml", [f"init={init}", *given])
    adopt_sizes(cfg, {"model.type", "model.mask_type", *(item.split("=")[0] for item in given)})
    return cfg


def test_a_causal_file_starts_a_classifier_and_what_it_lacks_is_said():
    cfg = config("finetune", CAUSAL)
    network = build_classifier(cfg, 5)
    before = network.head[0].weight.clone()
    report = load_weights(network, CAUSAL, may_lack=("head.",))
    assert "published ReCon++ pretraining" in str(report) and "class token (1), head (16)" in str(report)
    assert torch.equal(network.head[0].weight, before)
    assert torch.equal(network.encoder.global_query, read_checkpoint(CAUSAL)["base_model"]["encoder.global_query"])
    assert network.decoder is not None and report.num_loaded == len(network.state_dict()) - 17


def test_a_file_with_random_masks_is_refused_for_the_causal_classifier_with_the_reason():
    cfg = config("finetune", ZERO_SHOT, "model.colors=false", "model.layer_scale=false")
    network = build_classifier(cfg, 5)
    with pytest.raises(InputError, match="zeroshot.pth.*random masks.*positions have no place.*causal variant"):
        load_weights(network, ZERO_SHOT, may_lack=("head.",))


def test_a_file_with_random_masks_starts_a_classifier_of_its_own_variant():
    cfg = config("finetune", ZERO_SHOT, "model.mask_type=random", "classifier.rebuild_weight=0")
    network = build_classifier(cfg, 5)
    load_weights(network, ZERO_SHOT, may_lack=("head.",))
    assert network.eval()(torch.rand(2, 60, 3)).shape == (2, 5)
    with pytest.raises(InputError, match="causal variant and this network has random masks"):
        load_weights(network, CAUSAL, may_lack=("head.",))
    cfg["classifier"]["rebuild_weight"] = 3.0
    with pytest.raises(InputError, match="rebuilds hidden patches"):
        build_classifier(cfg, 5)


def test_layer_scale_is_never_dropped():
    cfg = config("finetune", ZERO_SHOT, "model.mask_type=random", "classifier.rebuild_weight=0")
    assert cfg["model"]["layer_scale"] and cfg["model"]["colors"]
    cfg["model"]["layer_scale"] = False
    with pytest.raises(InputError, match="model.layer_scale is True in the file and False here"):
        load_weights(build_classifier(cfg, 5), ZERO_SHOT, may_lack=("head.",))


def test_a_file_of_other_queries_is_refused():
    cfg = config("finetune", CAUSAL)
    cfg["model"]["queries"] = {"image": 10, "text": 1}
    with pytest.raises(InputError, match="model.queries is .*13.*in the file and .*10"):
        load_weights(build_classifier(cfg, 5), CAUSAL, may_lack=("head.",))


@pytest.mark.parametrize("path", [ZERO_SHOT, CAUSAL], ids=["random", "causal"])
def test_parts_are_labelled_with_pretrained_weights(path):
    given = ["model.mask_type=causal"] if path is CAUSAL else []
    cfg = config("partseg", path, *given)
    network = build_segmenter(cfg, 3, 5)
    report = load_weights(network, path, may_lack=("head.",))
    assert "decoder" in str(report)
    assert network(torch.rand(2, 60, 3), torch.tensor([0, 1])).shape == (2, 60, 5)


@pytest.mark.parametrize("path", [ZERO_SHOT, CAUSAL], ids=["random", "causal"])
def test_conversion_loses_nothing(path, tmp_path):
    convert(path, tmp_path / "ours.safetensors", "safetensors")
    convert(tmp_path / "ours.safetensors", tmp_path / "back.pth", "published")
    first, back = (torch.load(file, weights_only=True)["base_model"] for file in (path, tmp_path / "back.pth"))
    assert first.keys() == back.keys() and all(torch.equal(first[key], back[key]) for key in first)
    network, info = load_pretrained(tmp_path / "back.pth", num_heads=4, num_groups=12)
    assert info.kind == "published ReCon++ pretraining" and network.embed(torch.rand(1, 60, 3)).shape == (1, 1280)


def test_a_published_classifier_comes_with_its_head(tmp_path):
    state = torch.load(CAUSAL, weights_only=True)["base_model"]
    head = torch.load(FOLDER / "cls_head.pth", weights_only=True)
    head = head.get("base_model", head)
    keys = ("img_proj", "text_proj", "model.norm")
    whole = {key.removeprefix("model."): x for key, x in state.items() if not key.startswith(keys)} | head
    torch.save({"base_model": whole}, tmp_path / "cls.pth")
    network, info = load_pretrained(tmp_path / "cls.pth", num_heads=4, num_groups=12)
    assert info.kind == "published ReCon++ classifier" and network(torch.rand(2, 60, 3)).shape == (2, 7)
    convert(tmp_path / "cls.pth", tmp_path / "ours.pth")
    convert(tmp_path / "ours.pth", tmp_path / "back.pth", "published")
    back = torch.load(tmp_path / "back.pth", weights_only=True)["base_model"]
    assert back.keys() == whole.keys() and all(torch.equal(back[key], whole[key]) for key in whole)


def test_a_2d_vit_starts_both_stacks_and_the_rest_stays(tmp_path):
    timm = pytest.importorskip("timm")
    vit = timm.models.vision_transformer.VisionTransformer(
        img_size=8, patch_size=4, embed_dim=20, depth=2, num_heads=4, num_classes=0, init_values=0.5
    )
    torch.save(vit.state_dict(), tmp_path / "vit.pth")
    changes = ["model.embed_dim=20", "model.depth=2", "model.layer_scale=true", *HEADS]
    cfg = load_config(ROOT / "cfgs" / "reconpp" / "zeroshot_small.yaml", changes)
    network = build_pretrainer(cfg, {"image": 8, "text": 8})
    report = load_weights(network, tmp_path / "vit.pth")
    assert "published 2D ViT" in str(report) and "at their initial values" in str(report)
    block, theirs = network.encoder.blocks[1], vit.blocks[1]
    assert torch.equal(block.local.attn.qkv.weight, theirs.attn.qkv.weight)
    assert torch.equal(block.query.attn.kv.bias, theirs.attn.qkv.bias[20:])
    assert torch.equal(block.query.ls2.gamma, theirs.ls2.gamma)
    cfg["model"]["layer_scale"] = False
    with pytest.raises(InputError, match="model.layer_scale is True in the file"):
        load_weights(build_pretrainer(cfg, {"image": 8, "text": 8}), tmp_path / "vit.pth")
    with pytest.raises(InputError, match="2D ViT"):
        convert(tmp_path / "vit.pth", tmp_path / "ours.pth")
