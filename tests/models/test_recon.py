"""The pretraining network: its loss terms, and what each of them moves."""

import pytest
import torch
from torch.nn import functional as F

from pointrecon.models.encoder import PointEncoder
from pointrecon.models.recon import ReCon
from pointrecon.utils.errors import InputError

SMOOTH = {"type": "smooth_l1", "weight": 1.0, "temperature": 0.1, "normalize": False}


@pytest.fixture
def batch(points):
    return {
        "points": points,
        "image_feature": 3 * torch.randn(4, 10),
        "text_feature": 3 * torch.randn(4, 7),
        "labels": torch.tensor([0, 1, 0, 2]),
        "mask": torch.stack([torch.randperm(8) < 4 for _ in range(4)]),
    }


def gradient(model, prefix):
    """Sum of the absolute gradients below a name; None if there is none."""
    found = [p.grad for name, p in model.named_parameters() if name.startswith(prefix) and p.grad is not None]
    return float(sum(x.abs().sum() for x in found)) if found else None


@pytest.mark.parametrize(
    ("options", "left_out", "names"),
    [
        ({}, (), {"chamfer", "image", "text"}),
        ({"image_dim": None}, (), {"chamfer", "text"}),
        ({"image_dim": None, "text_dim": None}, (), {"chamfer"}),
        ({}, ("text_feature",), {"chamfer", "image"}),
        (
            {"loss": {"contrast": {"weight": 1.0, "temperature": 0.1, "dim": 16}}},
            (),
            {"chamfer", "image", "text", "self"},
        ),
        (
            {"loss": {"contrast": {"weight": 1.0, "temperature": 0.1, "dim": 16}}},
            ("labels",),
            {"chamfer", "image", "text"},
        ),
    ],
    ids=["both", "no-image-teacher", "no-teacher", "no-text-feature", "contrast", "contrast-without-labels"],
)
def test_terms(make_recon, batch, options, left_out, names):
    terms = make_recon(**options)(**{key: value for key, value in batch.items() if key not in left_out})
    assert terms.keys() == names
    assert all(term.dim() == 0 and term.isfinite() for term in terms.values())


def test_weights_scale_their_terms(make_recon, batch):
    heavy = {
        "chamfer": {"type": "l2", "weight": 3.0},
        "image": SMOOTH | {"weight": 0.5},
        "text": SMOOTH | {"weight": 4.0},
        "contrast": {"weight": 2.0, "temperature": 0.1, "dim": 16},
    }
    plain, scaled = make_recon(loss={"contrast": heavy["contrast"] | {"weight": 1.0}}), make_recon(loss=heavy)
    scaled.load_state_dict(plain.state_dict())
    before, after = plain(**batch), scaled(**batch)
    for name, factor in {"chamfer": 3, "image": 0.5, "text": 4, "self": 2}.items():
        torch.testing.assert_close(after[name], factor * before[name])


def test_features_are_normalised_on_both_sides_when_asked(make_recon, batch):
    plain, unit = make_recon(), make_recon(loss={"image": SMOOTH | {"normalize": True}})
    unit.load_state_dict(plain.state_dict())
    queries, _ = plain.encoder(*plain.encoder.group(batch["points"]), batch["mask"])
    image, _ = plain.project(queries)
    teacher = batch["image_feature"]
    torch.testing.assert_close(plain(**batch)["image"], F.smooth_l1_loss(image, teacher))
    wanted = F.smooth_l1_loss(F.normalize(image, dim=-1), F.normalize(teacher, dim=-1))
    torch.testing.assert_close(unit(**batch)["image"], wanted)


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_chamfer_compares_the_masked_patches_with_their_reconstruction(make_recon, batch, norm):
    model = make_recon(loss={"chamfer": {"type": norm, "weight": 1.0}}).eval()
    patches, centers, mask, rebuilt = model.reconstruct(batch["points"], batch["mask"])
    assert torch.equal(mask, batch["mask"]) and not rebuilt.requires_grad
    pairs = [(a, b) for a, b in zip(rebuilt.flatten(0, 1), patches[mask], strict=True)]
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
    model = make_recon(loss={"contrast": {"weight": 1.0, "temperature": 0.1, "dim": 16}})
    model(**batch)["self"].backward()
    moved = model.encoder.query_tokens.grad.abs().sum(dim=-1)[0]
    assert moved[0] > 0 and not moved[1:].any()


def test_masks_are_drawn_anew_and_follow_the_generator(make_recon, points):
    model = make_recon().eval()
    first, again, other = (model(points, generator=torch.Generator().manual_seed(i))["chamfer"] for i in (1, 1, 2))
    assert first == again != other
    assert model.reconstruct(points)[2].sum(dim=1).tolist() == [4] * 4  # int(0.6 * 8)


def test_block_masking_reaches_the_network(make_recon, points):
    patches, centers, mask, _ = make_recon(mask_type="block").eval().reconstruct(points)
    for middle, flags in zip(centers, mask, strict=True):
        blocks = [set((middle - seed).norm(dim=1).argsort()[:4].tolist()) for seed in middle]
        assert set(flags.nonzero().flatten().tolist()) in blocks


def test_projections_start_at_the_published_mean(make_recon):
    model = make_recon(encoder={"embed_dim": 96}, image_dim=200, text_dim=300)
    for linear in (model.image_proj, model.text_proj):
        assert linear.weight.mean().item() == pytest.approx(0.02, abs=5e-4)
        assert linear.weight.std().item() == pytest.approx(0.01, rel=0.03)
        assert not linear.bias.any()


def test_half_precision_leaves_the_losses_in_float32(make_recon, batch):
    model = make_recon(loss={"contrast": {"weight": 1.0, "temperature": 0.1, "dim": 16}})
    exact = model(**batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(**batch)
    for name, term in rough.items():
        assert term.dtype == torch.float32
        torch.testing.assert_close(term, exact[name], rtol=0.1, atol=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_type": "blok"}, "model.mask_type is 'blok'.*did you mean 'block'"),
        ({"mask_ratio": 0.01}, "mask_ratio 0.01 masks 0 of 8"),
        ({"decoder_num_heads": 5}, "width 24 cannot be split into 5 heads"),
        ({"loss": {"chamfer": {"type": "l3", "weight": 1.0}}}, "loss.chamfer.type is 'l3'"),
        ({"loss": {"text": SMOOTH | {"type": "mse"}}}, "loss.text.type is 'mse'"),
    ],
)
def test_mistakes_are_refused(make_recon, options, message):
    with pytest.raises(InputError, match=message):
        make_recon(**options)


def test_published_base_size():
    off = {"weight": 0.0, "temperature": 0.1, "dim": 128}
    loss = {"chamfer": {"type": "l2", "weight": 1.0}, "image": SMOOTH, "text": SMOOTH, "contrast": off}
    with torch.device("meta"):
        model = ReCon(PointEncoder(384, 12, 6), 4, 6, 0.1, 0.6, "random", 768, 512, loss)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(50.8, abs=0.05)
