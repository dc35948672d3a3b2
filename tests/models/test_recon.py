"""The pretraining network: its loss terms, and what each of them moves."""

import pytest
import torch
from torch.nn import functional as F

from pointrecon.models.decoder import MaskedDecoder
from pointrecon.models.encoder import PointEncoder
from pointrecon.models.losses.chamfer import Chamfer
from pointrecon.models.losses.contrast import Contrast
from pointrecon.models.losses.distillation import Distillation, matched_distillation
from pointrecon.models.patches.masking import split_of_mask
from pointrecon.models.recon import ReCon
from pointrecon.utils.errors import InputError

IMAGE, TEXT, CONTRAST = Distillation(10), Distillation(7), Contrast(dim=16)


@pytest.fixture
def batch(points):
    return {
        "points": points,
        "targets": {"image": 3 * torch.randn(4, 10), "text": 3 * torch.randn(4, 7)},
        "labels": torch.tensor([0, 1, 0, 2]),
        "split": split_of_mask(torch.stack([torch.randperm(8) < 4 for _ in range(4)])),
    }


def gradient(model, prefix):
    """Sum of the absolute gradients below a name; None if there is none."""
    found = [p.grad for name, p in model.named_parameters() if name.startswith(prefix) and p.grad is not None]
    return float(sum(x.abs().sum() for x in found)) if found else None


@pytest.mark.parametrize(
    ("options", "changes", "names"),
    [
        ({}, {}, {"chamfer", "image", "text"}),
        ({"teachers": {"text": TEXT}}, {}, {"chamfer", "text"}),
        ({"teachers": None}, {}, {"chamfer"}),
        ({}, {"targets": {"image": torch.ones(4, 10)}}, {"chamfer", "image"}),
        ({"contrast": CONTRAST}, {}, {"chamfer", "image", "text", "self"}),
        ({"contrast": CONTRAST}, {"labels": None}, {"chamfer", "image", "text"}),
    ],
    ids=["both", "no-image-teacher", "no-teacher", "no-text-target", "contrast", "contrast-without-labels"],
)
def test_terms(make_recon, batch, options, changes, names):
    terms = make_recon(**options)(**(batch | changes))
    assert terms.keys() == names
    assert all(term.dim() == 0 and term.isfinite() for term in terms.values())


def test_weights_scale_their_terms(make_recon, batch):
    heavy = {
        "chamfer": Chamfer(weight=3.0),
        "teachers": {"image": Distillation(10, weight=0.5), "text": Distillation(7, weight=4.0)},
        "contrast": Contrast(weight=2.0, dim=16),
    }
    plain, scaled = make_recon(contrast=CONTRAST), make_recon(**heavy)
    scaled.load_state_dict(plain.state_dict())
    before, after = plain(**batch), scaled(**batch)
    for name, factor in {"chamfer": 3, "image": 0.5, "text": 4, "self": 2}.items():
        torch.testing.assert_close(after[name], factor * before[name])


def test_features_are_normalised_on_both_sides_when_asked(make_recon, batch):
    plain, unit = make_recon(), make_recon(teachers={"image": Distillation(10, normalize=True), "text": TEXT})
    unit.load_state_dict(plain.state_dict())
    queries, _ = plain.encoder(*plain.encoder.group(batch["points"]), batch["split"])
    image, teacher = plain.project(queries)["image"], batch["targets"]["image"]
    torch.testing.assert_close(plain(**batch)["image"], F.smooth_l1_loss(image, teacher))
    wanted = F.smooth_l1_loss(F.normalize(image, dim=-1), F.normalize(teacher, dim=-1))
    torch.testing.assert_close(unit(**batch)["image"], wanted)


def test_any_number_of_queries_and_targets_of_any_name(make_recon, batch):
    teachers = {"image": Distillation(10), "depth": Distillation(6, matched_distillation, normalize=True)}
    model = make_recon(encoder={"queries": {"cls": 1, "image": 3, "depth": 2}}, teachers=teachers)
    assert model.encoder.query_tokens.shape == (1, 6, 24) and model.depth_proj.weight.shape == (6, 24)
    there = torch.tensor([[True, True, False], [True, False, False], [True, True, True], [False] * 3])
    targets = {"image": torch.randn(4, 3, 10), "depth": torch.randn(4, 3, 6), "depth_mask": there}
    terms = model(**(batch | {"targets": targets}))
    assert terms.keys() == {"chamfer", "image", "depth"}
    terms["depth"].backward()
    assert model.encoder.query_tokens.grad.abs().sum(dim=-1)[0].bool().tolist() == [False] * 4 + [True] * 2
    projected = model.project(torch.randn(4, 6, 24))
    assert {name: tuple(x.shape) for name, x in projected.items()} == {"image": (4, 3, 10), "depth": (4, 2, 6)}


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_chamfer_compares_the_masked_patches_with_their_reconstruction(make_recon, batch, norm):
    model = make_recon(chamfer=Chamfer(norm=norm)).eval()
    patches, centers, split, rebuilt = model.reconstruct(batch["points"], batch["split"])
    assert split is batch["split"] and not rebuilt.requires_grad
    pairs = [(a, b) for a, b in zip(rebuilt.flatten(0, 1), patches[split.to_mask()], strict=True)]
    squared = torch.stack([(a.unsqueeze(1) - b.unsqueeze(0)).square().sum(-1) for a, b in pairs])
    near = [squared.min(dim=dim).values for dim in (1, 2)]
    wanted = sum(x.mean() for x in near) if norm == "l2" else sum(x.sqrt().mean() for x in near) / 2
    torch.testing.assert_close(model(**batch)["chamfer"], wanted)


def test_teachers_move_the_queries_alone_and_reconstruction_the_rest(make_recon, batch):
    model = make_recon()
    terms = model(**batch)
    (terms["image"] + terms["text"]).backward(retain_graph=True)
    for untouched in ("encoder.patch_embed", "encoder.blocks.0.attn.", "encoder.blocks.1.mlp.", "decoder"):
        assert gradient(model, untouched) is None, untouched
    for moved in ("image_proj", "text_proj", "encoder.query_tokens", "encoder.blocks.0.attn_contrast"):
        assert gradient(model, moved) > 0, moved
    assert not model.encoder.query_tokens.grad[:, 0].any()  # cls: nothing asks for it
    model.zero_grad()
    terms["chamfer"].backward()
    for moved in ("encoder.patch_embed", "encoder.blocks.0.attn.", "encoder.blocks.1.mlp.", "decoder"):
        assert gradient(model, moved) > 0, moved
    assert gradient(model, "encoder.query_tokens") is None and gradient(model, "image_proj") is None


def test_the_contrastive_term_moves_the_cls_query_alone(make_recon, batch):
    model = make_recon(contrast=CONTRAST)
    model(**batch)["self"].backward()
    moved = model.encoder.query_tokens.grad.abs().sum(dim=-1)[0]
    assert moved[0] > 0 and not moved[1:].any()


def test_masks_are_drawn_anew_and_follow_the_generator(make_recon, points):
    model = make_recon().eval()
    first, again, other = (model(points, generator=torch.Generator().manual_seed(i))["chamfer"] for i in (1, 1, 2))
    assert first == again != other
    assert model.reconstruct(points)[2].masked.shape == (4, 4)  # int(0.6 * 8)


def test_block_masking_reaches_the_network(make_recon, points):
    patches, centers, split, _ = make_recon(mask_type="block").eval().reconstruct(points)
    for middle, masked in zip(centers, split.masked, strict=True):
        blocks = [set((middle - seed).norm(dim=1).argsort()[:4].tolist()) for seed in middle]
        assert set(masked.tolist()) in blocks


def test_projections_start_at_the_published_mean(make_recon):
    model = make_recon(encoder={"embed_dim": 96}, teachers={"image": Distillation(200), "text": Distillation(300)})
    for linear in (model.image_proj, model.text_proj):
        assert linear.weight.mean().item() == pytest.approx(0.02, abs=5e-4)
        assert linear.weight.std().item() == pytest.approx(0.01, rel=0.03)
        assert not linear.bias.any()


def test_half_precision_leaves_the_losses_in_float32(make_recon, batch):
    model = make_recon(contrast=CONTRAST)
    exact = model(**batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(**batch)
    for name, term in rough.items():
        assert term.dtype == torch.float32
        torch.testing.assert_close(term, exact[name], rtol=0.1, atol=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_ratio": 0.01}, "mask_ratio 0.01 masks 0 of 8"),
        ({"teachers": {"depth": TEXT}}, "no such query .it has cls, image, text.; give model.queries.depth=1"),
        ({"encoder": {"queries": {"image": 1, "text": 1}}, "contrast": CONTRAST}, "loss for the query 'cls'"),
        ({"encoder": {"queries": {"cls": 0}}}, "model.queries has no query"),
    ],
)
def test_mistakes_are_refused(make_recon, options, message):
    with pytest.raises(InputError, match=message):
        make_recon(**options)


def test_published_base_size():
    with torch.device("meta"):
        teachers = {"image": Distillation(768), "text": Distillation(512)}
        model = ReCon(PointEncoder(384, 12, 6), MaskedDecoder(384, 4, 6), teachers=teachers)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(50.8, abs=0.05)
