"""ReCon++: sizes, kinds of step, gradients, and what may be missing."""

import pytest
import torch
from torch.nn import functional as F

from pointrecon.models.losses.chamfer import Chamfer, color_loss
from pointrecon.models.reconpp.decoder import ReConPPDecoder
from pointrecon.models.reconpp.encoder import ReConPPEncoder
from pointrecon.models.reconpp.layers import LocalBlock, QueryBlock
from pointrecon.models.reconpp.network import ReConPP, hidden_patches
from pointrecon.models.segmenter import PointSegmenter
from pointrecon.tools.build import build_classifier, build_pretrainer
from pointrecon.utils.config import load_config
from pointrecon.utils.errors import InputError
from tests import ROOT

VARIANTS = ["random", "causal"]
# Config -> millions of parameters: of the network, of its encoder's blocks, and of what embeds a shape.
COUNTS = {
    "zeroshot_small": (51.37, 42.61, 44.1),
    "transfer_small": (51.23, 42.61, None),
    "zeroshot_base": (201.49, 170.11, 172.9),
    "transfer_base": (206.96, 170.11, None),
    "hybrid_base": (206.95, 170.11, None),
    "zeroshot_large": (658.94, 604.62, 608.2),
    "transfer_large": (664.71, 604.62, None),
    "zeroshot_giant": (2120.54, 2020.01, 2024.9),
}
TENSORS = {"zeroshot_small": 450, "transfer_small": 443, "zeroshot_base": 402, "transfer_base": 402}
TENSORS |= {"zeroshot_large": 714, "transfer_large": 714, "zeroshot_giant": 1130}


def millions(module):
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


@pytest.mark.parametrize("name", COUNTS)
def test_published_sizes(name):
    cfg = load_config(ROOT / "cfgs" / "reconpp" / f"{name}.yaml")
    with torch.device("meta"):
        network = build_pretrainer(cfg, {"image": 1280, "text": 1280})
    whole, blocks, embedding = COUNTS[name]
    assert millions(network) == pytest.approx(whole, abs=0.006)
    assert millions(network.encoder.blocks) == pytest.approx(blocks, abs=0.006)
    if embedding is not None:
        parts = (network.encoder, network.image_proj, network.text_proj)
        assert sum(map(millions, parts)) == pytest.approx(embedding, abs=0.06)
    assert len(network.state_dict()) == TENSORS.get(name, len(network.state_dict()))


@pytest.mark.parametrize(("name", "count", "tensors"), [("base", 205.84, 413), ("large", 663.21, 725)])
def test_published_sizes_of_classifiers(name, count, tensors):
    sizes = load_config(ROOT / "cfgs" / "reconpp" / f"transfer_{name}.yaml")["model"]
    cfg = load_config(ROOT / "cfgs" / "reconpp" / "finetune_scan_hardest.yaml")
    keys = ("embed_dim", "depth", "num_heads", "decoder_num_heads", "large_embedding", "queries")
    cfg["model"].update({key: sizes[key] for key in keys})
    with torch.device("meta"):
        classifier = build_classifier(cfg, 15)
    assert millions(classifier) == pytest.approx(count, abs=0.006) and len(classifier.state_dict()) == tensors


@pytest.mark.parametrize("mask_type", VARIANTS)
@pytest.mark.parametrize("colors", [False, True])
def test_all_terms_are_finite_and_every_parameter_learns(make_network, points, targets, mask_type, colors):
    network = make_network(mask_type, colors=colors, layer_scale=True)
    terms = network(points, targets, generator=torch.Generator().manual_seed(0))
    assert set(terms) == {"chamfer", "image", "text"} | ({"color"} if colors else set())
    sum(terms.values()).backward()
    without = {name for name, x in network.named_parameters() if x.grad is None}
    assert without == {"norm.weight", "norm.bias"}
    assert all(x.grad.isfinite().all() for x in network.parameters() if x.grad is not None)


@pytest.mark.parametrize("mask_type", VARIANTS)
@pytest.mark.parametrize("stop_grad", [False, True])
@pytest.mark.parametrize("step", ["reconstruct", "contrast"])
def test_a_kind_of_step_moves_its_own_part(make_network, points, targets, mask_type, stop_grad, step):
    network = make_network(mask_type, step, stop_grad=stop_grad)
    terms = network(points[..., :3], targets)
    assert set(terms) == ({"chamfer"} if step == "reconstruct" else {"image", "text"})
    sum(terms.values()).backward()
    moved = {name for name, x in network.named_parameters() if x.grad is not None}
    is_local = [name for name in moved if ".local." in name or "patch_embed" in name]
    is_query = [name for name in moved if ".query." in name or "global_query" in name or "_proj" in name]
    assert bool(is_query) == (step == "contrast")
    assert bool(is_local) == (step == "reconstruct" or not stop_grad)
    assert any(name.startswith("decoder.") for name in moved) == (step == "reconstruct")


def test_the_kinds_of_step_add_up(make_network, points, targets):
    values = {}
    for step in ("all", "reconstruct", "contrast"):
        network = make_network("random", step).train()
        terms = network(points[..., :3], targets, generator=torch.Generator().manual_seed(0))
        values[step] = float(sum(terms.values()).detach())
    assert values["all"] == pytest.approx(values["reconstruct"] + values["contrast"], rel=1e-5)


def test_queries_read_the_block_of_their_own_depth_and_the_gradient_stops_there(make_network):
    block_in = torch.randn(2, 5, 16, requires_grad=True)
    pair = make_network().encoder.blocks[0]
    queries = torch.randn(2, 3, 16)
    out, tokens = pair(queries, block_in, False, None)
    torch.testing.assert_close(out, pair.query(queries, pair.local(block_in)))
    (grad,) = torch.autograd.grad(pair(queries, block_in, True, None)[0].sum(), block_in, allow_unused=True)
    assert grad is None


def test_a_block_is_timms():
    """Names and arithmetic of a ViT's block, with LayerScale and with a mask that hides nothing."""
    timm = pytest.importorskip("timm")
    theirs = timm.models.vision_transformer.Block(16, 2, qkv_bias=True, init_values=0.1).eval()
    ours = LocalBlock(16, 2, layer_scale=True).eval()
    for norm in (theirs.norm1, theirs.norm2):
        norm.eps = 1e-5
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 5, 16)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours(x, mask=torch.zeros(5, 5, dtype=torch.bool)), theirs(x))
    torch.testing.assert_close(ours(x, first=2), theirs(x)[:, 2:])
    later = torch.ones(5, 5, dtype=torch.bool).triu(1)
    torch.testing.assert_close(ours(x, 3, later), ours(x, mask=later)[:, 3:])
    torch.testing.assert_close(ours(x, mask=later)[:, 0], ours(x[:, :1])[:, 0])


def test_a_query_block_without_biases_of_its_own_norms():
    block = QueryBlock(16, 2)
    assert not [name for name, _ in block.named_parameters() if name.startswith(("norm3", "norm_kv"))]


def test_a_causal_token_knows_nothing_of_its_patch_and_of_later_ones(make_network, points):
    encoder = make_network("causal").encoder.eval().requires_grad_(False)
    encoder.patch_embed.fc4.weight.mul_(100)
    patches, centers = encoder.group(points[..., :3])
    changed = patches.clone()
    changed[:, 5:] += 1
    (_, before), (_, after) = encoder(patches, centers), encoder(changed, centers)
    torch.testing.assert_close(before[:, :6], after[:, :6])
    assert (before[:, 6:] - after[:, 6:]).abs().amax() > 1e-4
    _, _, (read,) = encoder.forward_blocks(patches, centers, keep=[2])
    _, _, (moved,) = encoder.forward_blocks(changed, centers, keep=[2])
    torch.testing.assert_close(read[:, :5], moved[:, :5])
    assert ((read - moved)[:, 5:].abs().amax(dim=-1) > 1e-6).all()  # for labels of points, the last patch is seen too


@pytest.mark.parametrize("mask_type", VARIANTS)
def test_shapes_without_any_text_are_no_nan(make_network, points, targets, mask_type):
    targets["text"].zero_()
    targets["text_mask"].zero_()
    network = make_network(mask_type)
    terms = network(points[..., :3], targets)
    assert float(terms["text"].detach()) == 0.0
    sum(terms.values()).backward()
    assert all(x.grad.isfinite().all() for x in network.parameters() if x.grad is not None)


def test_clouds_without_colors_are_filled_and_colors_that_nobody_wants_left_out(make_network, points):
    colored, plain = make_network(colors=True, color_fill=0.25).eval(), make_network().eval()
    filled = torch.cat([points[..., :3], torch.full_like(points[..., :3], 0.25)], dim=-1)
    torch.testing.assert_close(colored.embed(points[..., :3]), colored.embed(filled))
    assert not torch.allclose(colored.embed(points), colored.embed(filled))
    torch.testing.assert_close(plain.embed(points), plain.embed(points[..., :3]))


def test_no_centre_near_the_origin_but_the_first_where_asked_for():
    points = torch.cat([torch.randn(1, 30, 3), 0.01 * torch.randn(1, 10, 3)], dim=1)
    group = ReConPPEncoder(16, 1, 2, 31, 4, skip_origin=True).group
    _, centers = group(points)
    assert (centers[0].norm(dim=-1) > 0.03).all() and len(centers[0].unique(dim=0)) == 30  # the start once more
    far, wanted = points[:, :30], ReConPPEncoder(16, 1, 2, 12, 4).group
    for ours, theirs in zip(ReConPPEncoder(16, 1, 2, 12, 4, skip_origin=True).group(far), wanted(far), strict=True):
        assert torch.equal(ours, theirs)


def test_embed_adds_mean_image_and_weighted_mean_text(make_network, points):
    network = make_network().eval()
    queries, _ = network.encoder.embed(points[..., :3])
    projected = network.project(queries)
    image, text = (F.normalize(projected[name], dim=-1).mean(dim=1) for name in ("image", "text"))
    torch.testing.assert_close(network.embed(points[..., :3], ratio=0.3), image + 0.3 * text)


def test_chamfer_has_a_gradient_where_points_coincide_and_color_reads_the_nearest():
    target = torch.rand(2, 3, 4, 6)
    rebuilt = target.clone().requires_grad_()
    terms = Chamfer("both").terms(rebuilt, target)
    sum(terms.values()).backward()
    assert rebuilt.grad.isfinite().all() and float(terms["chamfer"].detach()) == 0.0
    moved = torch.rand(5, 4, 6)
    other = torch.rand(5, 4, 6)
    nearest = torch.cdist(moved[..., :3], other[..., :3]).argmin(dim=-1)
    wanted = F.smooth_l1_loss(moved[..., 3:], torch.stack([x[i] for x, i in zip(other[..., 3:], nearest, strict=True)]))
    torch.testing.assert_close(color_loss(moved, other), wanted)


@pytest.mark.parametrize("mask_type", VARIANTS)
def test_parts_are_labelled_from_either_variant(make_network, points, mask_type):
    segmenter = PointSegmenter(make_network(mask_type).encoder, 3, 5)
    logits = segmenter(points[..., :3], torch.tensor([0, 1, 2]))
    assert logits.shape == (3, 40, 5)
    logits.sum().backward()


@pytest.mark.parametrize("mask_type", VARIANTS)
def test_reconstructions_for_pictures(make_network, points, mask_type):
    network = make_network(mask_type, colors=True).eval()
    patches, _, split, rebuilt = network.reconstruct(points)
    assert rebuilt.shape == hidden_patches(patches, split).shape and patches.shape[-1] == 3
    assert split.to_mask().sum() == rebuilt.shape[0] * rebuilt.shape[1]


def test_refusals(make_network):
    encoder, decoder = ReConPPEncoder(16, 1, 2, 8, 4), ReConPPDecoder(16, 1, 2, 4)
    with pytest.raises(InputError, match="there is no teacher"):
        ReConPP(encoder, decoder, step="contrast")
    with pytest.raises(InputError, match="model.step"):
        ReConPP(encoder, decoder, step="both")
    with pytest.raises(InputError, match="class-wise contrast"):
        ReConPP(encoder, decoder, contrast=object())
    with pytest.raises(InputError, match="in one space"):
        ReConPP(encoder, decoder).eval().embed(torch.rand(1, 20, 3))
