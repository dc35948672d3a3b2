"""Key names of published checkpoints, of every network there is; test_published_arithmetic.py maps published files."""

import json

import pytest
import torch

from pointrecon.models.classifier import PointClassifier
from pointrecon.models.decoder import MaskedDecoder
from pointrecon.models.encoder import PointEncoder
from pointrecon.models.losses.contrast import Contrast
from pointrecon.models.losses.distillation import Distillation
from pointrecon.models.published.encoder import (
    dropped_keys,
    from_published,
    identify,
    is_published,
    strip_wrappers,
    to_published,
)
from pointrecon.models.recon import ReCon
from pointrecon.models.segmenter import PointSegmenter
from pointrecon.models.two_tower import TwoTower, TwoTowerClassifier, TwoTowerEncoder
from pointrecon.utils.errors import InputError
from tests import ROOT

KEYS = json.loads((ROOT / "tests" / "fixtures" / "published_keys.json").read_text())
BASE = {"embed_dim": 384, "depth": 12, "num_heads": 6, "num_groups": 64, "group_size": 32}
SMALL = {"embed_dim": 12, "depth": 3, "num_heads": 2, "num_groups": 6, "group_size": 4}


def pretraining(sizes, contrast, make=ReCon, encoder=PointEncoder):
    depth = 4 if sizes is BASE else 2
    decoder = MaskedDecoder(sizes["embed_dim"], depth, 2, sizes["group_size"])
    teachers = {"image": Distillation(768), "text": Distillation(512)}
    return make(encoder(**sizes), decoder, teachers=teachers, contrast=Contrast() if contrast else None)


def zero_shot(sizes):
    """The pretraining network without its decoder, as the published class has it."""
    model = pretraining(sizes, contrast=False)
    del model.decoder
    return model


class Encoder(torch.nn.Module):
    """The encoder alone, as the published feature extractor has it."""

    def __init__(self, sizes):
        super().__init__()
        self.encoder = PointEncoder(**sizes)


NETWORKS = {
    "pretraining": lambda sizes: pretraining(sizes, contrast=True),
    "classifier_full": lambda sizes: PointClassifier(PointEncoder(**sizes), 15, "mlp3"),
    "classifier_linear": lambda sizes: PointClassifier(PointEncoder(**sizes), 15, "linear"),
    "zero_shot": zero_shot,
    "svm": Encoder,
    "two_tower": lambda sizes: pretraining(sizes, False, TwoTower, TwoTowerEncoder),
    "segmentation": lambda sizes: PointSegmenter(PointEncoder(**sizes), 16, 50),
}
NAMES = {
    "pretraining": "ReCon pretraining",
    "classifier_full": "ReCon classifier",
    "classifier_linear": "ReCon classifier",
    "zero_shot": "ReCon zero-shot",
    "svm": "ReCon encoder",
    "two_tower": "two-tower pretraining",
    "segmentation": "ReCon part segmentation",
}


def small_published(name):
    """Random weights under the published names, of the shapes of a small network."""
    with torch.device("meta"):
        state = to_published(NETWORKS[name](SMALL).state_dict())
    generator = torch.Generator().manual_seed(1)
    return {
        key: torch.tensor(7) if value.dim() == 0 else torch.randn(value.shape, generator=generator)
        for key, value in state.items()
    }


def plain_masked_autoencoder(prefix):
    """Point-MAE's keys: those of tower 1, whose layers are the same."""
    state = small_published("two_tower")
    leave = ("Dis_encoder.", "img_proj.", "text_proj.")
    return {key.replace("MAE_encoder.", prefix): x for key, x in state.items() if not key.startswith(leave)}


def expand(table):
    """The key table with the blocks counted out: 12 in encoders, 4 in decoders."""
    keys = {}
    for key, shape in table.items():
        count = 0 if "{i}" not in key else 4 if key.startswith("MAE_decoder.") else 12
        keys |= {key.replace("{i}", str(block)): tuple(shape) for block in range(count or 1)}
    return keys


@pytest.mark.parametrize("name", NETWORKS)
def test_names_and_shapes_at_the_published_size(name):
    with torch.device("meta"):
        state = to_published(NETWORKS[name](BASE).state_dict())
    assert {key: tuple(value.shape) for key, value in state.items()} == expand(KEYS[name])


@pytest.mark.parametrize("name", NETWORKS)
def test_published_weights_survive_the_way_there_and_back(name):
    published = small_published(name)
    ours = from_published(published)
    NETWORKS[name](SMALL).load_state_dict(ours, strict=True)
    back = to_published(ours)
    assert back.keys() == published.keys()
    assert all(torch.equal(back[key], published[key]) for key in published)


@pytest.mark.parametrize("name", NETWORKS)
def test_each_kind_of_file_is_recognised(name):
    published = small_published(name)
    assert is_published(published) and not is_published(from_published(published))
    wrapped = {f"module.{key}": value for key, value in published.items()}
    assert identify(published).name == identify(wrapped).name == NAMES[name]
    assert from_published(wrapped).keys() == from_published(published).keys()


@pytest.mark.parametrize(("head", "stream"), [("linear", "local"), ("mlp3", "all")])
def test_two_tower_classifier(head, stream):
    state = TwoTowerClassifier(TwoTowerEncoder(**SMALL), 5, head, stream=stream).state_dict()
    published = to_published(state)
    assert identify(published).name == "two-tower classifier"
    assert {"cls_token", "cls_pos", "Dis_encoder.text_pos", "blocks.blocks.2.attn.qkv.weight"} < published.keys()
    back = from_published(published)
    assert back.keys() == state.keys() and all(torch.equal(back[key], state[key]) for key in state)


@pytest.mark.parametrize("name", ["pretraining", "two_tower"])
def test_queries_keep_their_order(name):
    published = small_published(name)
    prefix, ours = (
        ("MAE_encoder.", "encoder.") if name == "pretraining" else ("Dis_encoder.", "encoder.contrast_tower.")
    )
    queries = ("cls", "img", "text")[-2 if name == "two_tower" else 0 :]
    mapped = from_published(published)
    for column, query in enumerate(queries):
        for kind, stack in (("token", "query_tokens"), ("pos", "query_positions")):
            assert torch.equal(mapped[ours + stack][:, column], published[f"{prefix}{query}_{kind}"][:, 0])


def test_teachers_inside_a_published_file_are_left_out_and_named():
    published = small_published("pretraining")
    teachers = {"img_encoder.blocks.0.attn.qkv.weight": torch.ones(3), "text_encoder.logit_scale": torch.ones(1)}
    assert from_published(published | teachers).keys() == from_published(published).keys()
    assert dropped_keys(published | teachers) == list(teachers)


def test_a_missing_query_is_missing_in_the_result():
    published = small_published("pretraining")
    whole = from_published(published).keys()
    del published["MAE_encoder.img_token"]
    assert whole - from_published(published).keys() == {"encoder.query_tokens"}


def test_point_mae_gives_the_local_stream_and_the_decoder():
    state = plain_masked_autoencoder("MAE_encoder.")
    assert identify(state).name == "Point-MAE pretraining" and identify(state).is_plain
    ours = from_published(state)
    wanted = NETWORKS["pretraining"](SMALL).state_dict()
    assert all(wanted[key].shape == value.shape for key, value in ours.items())
    lacking = {key for key in wanted if key not in ours and not key.startswith(("image", "text", "contrast"))}
    assert all("query" in key or "_contrast." in key for key in lacking) and len(lacking) == 2 + 3 * 12
    assert torch.equal(ours["encoder.blocks.1.mlp.fc1.weight"], state["MAE_encoder.blocks.blocks.1.mlp.fc1.weight"])


def test_act_gives_the_local_stream_alone():
    state = plain_masked_autoencoder("ACT_encoder.")
    state = {key: x for key, x in state.items() if not key.startswith("increase_dim.")}
    state = {key.replace("MAE_decoder.", "ACT_decoder."): x for key, x in state.items()}
    extra = ("dvae_tokenizer.encoder.first_conv.0.weight", "dvae_tokenizer.codebook", "proj_head.weight", "cls_pos")
    state |= {key: torch.ones(1) for key in extra}
    state |= {f"ACT_encoder.cls_{name}": torch.full((1, 1, 12), value) for name, value in (("token", 2), ("pos", 3))}
    assert identify(state).name == "ACT pretraining"
    ours = from_published(state)
    assert ours.pop("encoder.cls_token").unique() == 2 and ours.pop("encoder.cls_position").unique() == 3
    assert ours.keys() == {key for key in from_published(plain_masked_autoencoder("MAE_encoder.")) if "encoder." in key}
    assert set(extra) < set(dropped_keys(state))


def test_a_plain_classifier_gives_its_blocks():
    state = plain_masked_autoencoder("")
    state = {key: x for key, x in state.items() if key.startswith(("encoder.", "blocks.", "norm.", "pos_embed."))}
    state |= {
        "cls_token": torch.ones(1, 1, 12),
        "cls_pos": torch.ones(1, 1, 12),
        "cls_head_finetune.0.bias": torch.ones(5),
    }
    assert identify(state).is_plain
    assert all(key.startswith("encoder.") for key in from_published(state))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("transformer_q.reduce_dim.weight", "reduce_dim"),
        ("net.first_conv.0.weight", "not known"),
        ("GPT_Transformer.blocks.layers.0.ln_1.weight", "PointGPT: its blocks read patches in a causal order"),
        ("generator_blocks.blocks.0.norm1.weight", "PointGPT"),
        ("MAE_encoder.blocks.layers.0.mixer.A_log", "PointMamba: its blocks are state-space models"),
        ("point_encoder.trans2embed.weight", "Uni3D: its input has colors"),
        ("model.global_query", "ReCon.*"),
        ("module.ppat.cls_token", "OpenShape-PointBERT"),
        ("dgcnn_1.input_trans.weight", "a dVAE, the tokenizer"),
    ],
)
def test_other_networks_are_refused(key, message):
    with pytest.raises(InputError, match=message):
        identify({key: torch.ones(1), "x.first_conv.0.weight": torch.ones(1)})


def test_keys_that_are_not_known_stay_as_they_are():
    published = small_published("svm") | {"temperature": torch.ones(1)}
    assert "temperature" in from_published(published)
    assert strip_wrappers({"module.a": 1, "b": 2}) == {"a": 1, "b": 2}


@pytest.mark.parametrize("shape", [(12,), (1, 2, 12), (1, 1, 13)])
def test_queries_of_another_shape_are_refused(shape):
    published = small_published("pretraining") | {"MAE_encoder.img_token": torch.ones(shape)}
    with pytest.raises(InputError, match="must be of one shape"):
        from_published(published)
    with pytest.raises(InputError, match=r"'encoder\.query_tokens' must be \(1, 3, width\)"):
        to_published({"encoder.query_tokens": torch.ones(shape)})


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.module.module."])
def test_wrappers_in_any_order_and_number(prefix):
    published = small_published("pretraining")
    wrapped = {prefix + key: value for key, value in published.items()}
    assert identify(wrapped).name == "ReCon pretraining"
    assert from_published(wrapped).keys() == from_published(published).keys()
    compiled_inside = {key.replace("MAE_encoder.", "MAE_encoder._orig_mod."): x for key, x in published.items()}
    assert from_published(compiled_inside).keys() == from_published(published).keys()


def test_two_networks_in_one_file_are_refused():
    with pytest.raises(InputError, match="'module.a' is there twice"):
        strip_wrappers({"a": torch.ones(1), "module.a": torch.zeros(1)})


def test_point_mae_part_segmentation_is_not_recons():
    state = plain_masked_autoencoder("")
    state = {key: x for key, x in state.items() if key.startswith(("encoder.", "blocks.", "norm.", "pos_embed."))}
    state |= {key: torch.ones(5, 4, 1) for key in ("propagation_0.mlp_convs.0.weight", "convs1.weight", "bns1.weight")}
    assert identify(state).name == "plain transformer part segmentation" and identify(state).is_plain
    ours = from_published(state)
    assert ours and all(key.startswith("encoder.") for key in ours)
    assert len(dropped_keys(state)) == 3
