"""The two-tower baseline: what each tower sees, what it is taught by, and what a classifier reads."""

import pytest
import torch

from pointrecon.models.decoder import MaskedDecoder
from pointrecon.models.losses.contrast import Contrast
from pointrecon.models.losses.distillation import Distillation
from pointrecon.models.patches.masking import split_of_mask
from pointrecon.models.two_tower import TwoTower, TwoTowerClassifier, TwoTowerEncoder
from pointrecon.utils.errors import InputError

LAST_HIDDEN = split_of_mask(torch.arange(8).expand(4, -1) >= 5)


@pytest.fixture
def make_towers():
    def make(**options):
        sizes = {"embed_dim": 24, "depth": 2, "num_heads": 3, "num_groups": 8, "group_size": 5, "drop_path": 0.0}
        return TwoTowerEncoder(**(sizes | options))

    return make


@pytest.fixture
def make_model(make_towers):
    """A function that makes a pretraining network."""

    def make(**options):
        teachers = {"image": Distillation(10), "text": Distillation(7)}
        return TwoTower(make_towers(), MaskedDecoder(24, 1, 3, 5), **({"teachers": teachers} | options))

    return make


def test_tower_1_sees_visible_patches_and_tower_2_all(make_towers, points):
    towers = make_towers().eval()
    patches, centers = towers.group(points)
    queries, tokens = towers(patches, centers, LAST_HIDDEN)
    assert queries.shape == (4, 2, 24) and tokens.shape == (4, 5, 24)
    changed = patches.clone()
    changed[:, 6] += 1
    other_queries, other_tokens = towers(changed, centers, LAST_HIDDEN)
    assert torch.equal(tokens, other_tokens)
    assert (queries - other_queries).abs().max() > 1e-4


def test_tower_1_is_a_plain_pre_norm_transformer(make_towers, points):
    towers = make_towers().eval()
    patches, centers = towers.group(points)
    x, positions = towers.patch_embed(patches), towers.pos_embed(centers)
    for block in towers.blocks:
        x = x + positions
        x = x + block.attn(block.norm1(x))
        x = x + block.mlp(block.norm2(x))
    torch.testing.assert_close(towers(patches, centers)[1], towers.norm(x))


def test_masked_patches_count_in_the_statistics_only_if_embedded(make_towers, points):
    means = []
    for embed_masked in (True, False):
        torch.manual_seed(0)
        towers = make_towers(embed_masked=embed_masked)
        towers(*towers.group(points), LAST_HIDDEN)
        means.append((towers.patch_embed.norm1.running_mean, towers.contrast_tower.patch_embed.norm1.running_mean))
    assert not torch.allclose(means[0][0], means[1][0])
    assert torch.allclose(means[0][1], means[1][1])


def test_each_tower_has_its_own_teacher(make_model, points):
    model = make_model()
    terms = model(points, {"image": torch.randn(4, 10), "text": torch.randn(4, 7)})
    assert terms.keys() == {"chamfer", "image", "text"}
    tower2 = "encoder.contrast_tower."
    terms["chamfer"].backward(retain_graph=True)
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert moved and not any(name.startswith((tower2, "image_proj", "text_proj")) for name in moved)
    model.zero_grad()
    (terms["image"] + terms["text"]).backward()
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert moved == {n for n, _ in model.named_parameters() if n.startswith((tower2, "image_proj", "text_proj"))}


def test_projections_read_their_own_query(make_model):
    model, queries = make_model(), torch.randn(4, 2, 24)
    projected = model.project(queries)
    assert torch.equal(projected["image"], model.image_proj(queries[:, 0]))
    assert torch.equal(projected["text"], model.text_proj(queries[:, 1]))


def test_there_is_no_cls_query_to_contrast(make_model):
    with pytest.raises(InputError, match="loss.contrast.weight"):
        make_model(contrast=Contrast(dim=8))


def test_a_class_token_stands_in_front_of_tower_1(make_towers, points):
    """As in ACT: it takes part in the attention, and is not returned."""
    towers = make_towers(class_token=True).eval()
    patches, centers = towers.group(points)
    x = torch.cat([towers.cls_token.expand(4, -1, -1), towers.patch_embed(patches)], dim=1)
    positions = torch.cat([towers.cls_position.expand(4, -1, -1), towers.pos_embed(centers)], dim=1)
    for block in towers.blocks:
        x = block(x + positions)
    torch.testing.assert_close(towers(patches, centers)[1], towers.norm(x)[:, 1:])


def test_classifier_reads_first_token_later_tokens_and_queries(make_towers, points):
    model = TwoTowerClassifier(make_towers(), 5, "linear").eval()
    feature = model.forward_feature(points)
    assert feature.shape == (4, 96) and model(points).shape == (4, 5)
    patches, centers = model.encoder.group(points)
    x = torch.cat([model.cls_token.expand(4, -1, -1), model.encoder.patch_embed(patches)], dim=1)
    positions = torch.cat([model.cls_position.expand(4, -1, -1), model.encoder.pos_embed(centers)], dim=1)
    for block in model.encoder.blocks:
        x = block(x + positions)
    x = model.encoder.norm(x)
    queries, _ = model.encoder.embed(points)
    wanted = torch.cat([x[:, 0], x[:, 3:].max(dim=1).values, queries[:, 0], queries[:, 1]], dim=-1)
    torch.testing.assert_close(feature, wanted)


@pytest.mark.parametrize(("stream", "part"), [("local", slice(0, 48)), ("global", slice(48, 96))])
def test_a_stream_alone_is_its_half_of_the_feature(make_towers, points, stream, part):
    whole = TwoTowerClassifier(make_towers(), 5).eval()
    half = TwoTowerClassifier(make_towers(), 5, stream=stream).eval()
    state = {key: value for key, value in whole.state_dict().items() if not key.startswith("head.")}
    half.load_state_dict(state, strict=False)
    torch.testing.assert_close(half.forward_feature(points), whole.forward_feature(points)[:, part])
    half.forward_feature(points).sum().backward()
    idle = half.encoder.contrast_tower if stream == "local" else half.encoder.blocks
    assert all(parameter.grad is None for parameter in idle.parameters())


@pytest.mark.parametrize(("is_leaky", "trained"), [(False, {"head"}), (True, {"head", "cls_token", "cls_position"})])
def test_frozen_towers(make_towers, is_leaky, trained):
    model = TwoTowerClassifier(make_towers(), 5, freeze_backbone=True, is_leaky=is_leaky)
    assert {name.split(".")[0] for name, x in model.named_parameters() if x.requires_grad} == trained
    assert model.train().encoder.contrast_tower.training is is_leaky


@pytest.mark.parametrize(("options", "sizes"), [({"stream": "MDM"}, {}), ({}, {"num_groups": 2})])
def test_mistakes(make_towers, options, sizes):
    with pytest.raises(InputError, match=r"classifier\.stream|model\.num_groups"):
        TwoTowerClassifier(make_towers(**sizes), 5, **options)
