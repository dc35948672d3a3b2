"""Encoders from published key names: sizes are read, every form of block is known, and what is wrong is said."""

import pytest
import torch

from pointrecon.models.open.build import build_from_state
from pointrecon.models.open.keys import OPENSHAPE, ULIP2, UNI3D, family_of
from pointrecon.tools.open.files import find_state
from pointrecon.utils.errors import InputError
from tests import ROOT

FOLDER = ROOT / "tests" / "fixtures" / "alternatives_tiny"
CUT = {"num_groups": 16, "group_size": 8}


@pytest.fixture(scope="module")
def states():
    names = ("uni3d_fused", "uni3d_split", "uni3d_gelu", "openshape", "ulip2")
    found = {name: find_state(torch.load(FOLDER / f"{name}.pth", weights_only=True)) for name in names}
    embedding = {key: value for key, value in found["uni3d_fused"].items() if ".encoder." in key}
    return {name: {**embedding, **state} if "uni3d" in name else state for name, state in found.items()}


def test_families_are_told_by_their_keys(states):
    assert [family_of(states[name]) for name in states] == [UNI3D, UNI3D, UNI3D, OPENSHAPE, ULIP2]
    assert family_of(["MAE_encoder.norm.weight"]) is None


def test_sizes_and_forms_come_from_the_weights(states):
    for name, is_gated, has_norm, hidden in (
        ("fused", True, False, 64),
        ("split", True, True, 64),
        ("gelu", False, False, 104),
    ):
        encoder, info = build_from_state(states[f"uni3d_{name}"], num_heads=3, **CUT)
        mlp = encoder.blocks[0].mlp
        assert (mlp.is_gated, isinstance(mlp.norm, torch.nn.LayerNorm)) == (is_gated, has_norm)
        assert mlp.fc2.in_features == hidden and encoder.blocks[1].norm2.eps == 1e-6
        assert (encoder.embed_dim, encoder.out_dim, len(encoder.blocks)) == (24, 40, 2)
        assert "visual.patch_embed.proj.weight" in info.unused and info.guessed == ()


@pytest.mark.parametrize(
    ("size", "form", "width", "depth", "heads", "hidden", "side", "millions"),
    [
        ("ti", "fused", 192, 12, 3, 512, 16, 6.4),
        ("s", "fused", 384, 12, 6, 1024, 16, 22.8),
        ("b", "split", 768, 12, 12, 2048, 32, 89.0),
        ("l", "split", 1024, 24, 16, 2730, 32, 307.4),
        ("g", "gelu", 1408, 40, 16, 6144, 40, 1017.4),
    ],
)
def test_published_sizes_need_nothing_else(
    states, monkeypatch, size, form, width, depth, heads, hidden, side, millions
):
    """Shapes alone, without memory; the numbers of parameters are the published ones."""
    monkeypatch.setattr("pointrecon.models.open.build._load", lambda *_: [])
    in_blocks = {24: width, 72: 3 * width, 64: hidden, 104: hidden, 128: 2 * hidden}
    outside = {24: width, 32: 512, 40: 1024}
    state = {}
    with torch.device("meta"):
        for key, value in states[f"uni3d_{form}"].items():
            table = in_blocks if ".blocks." in key else outside
            made = torch.empty([table.get(n, n) for n in value.shape]) if "logit_scale" not in key else torch.ones(())
            for layer in range(depth) if ".blocks.0." in key else (0,):
                state[key.replace(".blocks.0.", f".blocks.{layer}.")] = made
        del state["logit_scale"]
        encoder, info = build_from_state(state)
    assert info.name == f"Uni3D-{size}" and encoder.num_heads == heads
    assert (encoder.patches.num_groups, encoder.patches.group_size) == (512, 64)
    assert set(info.guessed) == {"num_heads", "num_groups", "group_size"}
    assert info.text_teacher == ("EVA02-E-14-plus", "laion2b_s9b_b144k")
    count = sum(x.numel() for x in encoder.parameters())
    # The file also has the 2D model's own input and, but for the two smallest, its classifier.
    count += width * (1 + side**2 + 1 + 3 * 14 * 14 + 1) + (1000 * width + 1000) * (size not in ("ti", "s"))
    assert count / 1e6 == pytest.approx(millions, abs=0.06)


def test_openshape_knows_its_gravity_by_its_width(states):
    state = dict(states["openshape"])
    wide = {"module.proj.weight": torch.zeros(1280, 24), "module.proj.bias": torch.zeros(1280)}
    cut = {"num_groups": 16, "group_size": 12, "radius": 0.45}
    assert build_from_state({**state, **wide}, **cut)[0].recipe.axes == "y and z swapped"
    recipe = build_from_state(state, **cut)[0].recipe
    assert recipe.axes == "as stored" and recipe.is_refilled and recipe.num_points == 10_000


@pytest.mark.parametrize(
    ("name", "change", "options", "message"),
    [
        ("uni3d_fused", {}, CUT, "give num_heads="),
        ("uni3d_fused", {}, {"num_heads": 5, **CUT}, "do not divide the width 24"),
        ("uni3d_fused", {}, {"num_heads": 3, "radius": 1}, "no setting 'radius'"),
        ("ulip2", {}, {"num_heads": 3, "num_groups": 0, "group_size": 8}, "must be a positive number"),
        ("ulip2", {"module.point_encoder.norm.bias": None}, {"num_heads": 3, **CUT}, "lack 1 tensors"),
        ("ulip2", {"module.point_encoder.norm.bias": torch.zeros(5)}, {"num_heads": 3, **CUT}, r"shape \(5,\)"),
        ("ulip2", {"module.point_encoder.norm.bias": torch.full((24,), torch.nan)}, {"num_heads": 3, **CUT}, "damaged"),
        ("openshape", {}, {"num_groups": 16, "group_size": 12}, "give radius="),
    ],
)
def test_what_is_wrong_is_said(states, name, change, options, message):
    state = {**states[name], **change}
    with pytest.raises(InputError, match=message):
        build_from_state({key: value for key, value in state.items() if value is not None}, **options)


def test_attention_and_features_of_the_patches(states):
    points = torch.rand(2, 64, 6, generator=torch.Generator().manual_seed(0))
    for name, options in (
        ("ulip2", {"num_heads": 3, **CUT}),
        ("openshape", {"num_groups": 16, "group_size": 12, "radius": 0.45}),
    ):
        encoder, _ = build_from_state(states[name], **options)
        features = encoder.encode(points)
        assert features.embedding.shape == (2, 40) and features.tokens.shape == (2, 16, 24)
        queries, tokens = encoder.embed(points)
        assert torch.equal(queries, features.queries) and torch.equal(tokens, features.tokens)
        maps = list(encoder.attention(points))
        assert len(maps) == 2 and torch.equal(maps[1][0], features.centers)
        for _, query, among in maps:
            assert query.shape == (2, encoder.num_heads, 1, 16) and among.shape == (2, encoder.num_heads, 16, 16)
            assert (query.sum(-1) < 1).all() and (among.sum(-1) < 1).all() and (among > 0).all()


def test_attention_weights_are_those_of_the_layer(states):
    encoder, _ = build_from_state(states["ulip2"], num_heads=3, **CUT)
    attn = encoder.blocks[0].attn
    x = torch.randn(2, 9, 24, generator=torch.Generator().manual_seed(1))
    v = attn.qkv(x).unflatten(-1, (3, 3, -1))[:, :, 2]  # (B, T, H, D)
    wanted = attn(x)
    ours = attn.proj(torch.einsum("bhqt,bthd->bqhd", attn.weights(x), v).flatten(2))
    torch.testing.assert_close(ours, wanted, atol=1e-6, rtol=0)
