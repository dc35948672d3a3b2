"""Networks from weights alone, and key names both ways."""

import pytest
import torch

from pointrecon.models.published.encoder import from_published, identify, is_published, to_published
from pointrecon.models.published.reconpp import from_vit
from pointrecon.models.reconpp.load import build_from_state, sizes_of_reconpp
from pointrecon.utils.errors import InputError
from tests import ROOT

FOLDER = ROOT / "tests" / "fixtures" / "reconpp_tiny"


def published(name):
    return torch.load(FOLDER / f"{name}.pth", weights_only=True)["base_model"]


@pytest.mark.parametrize("name", ["zeroshot", "causal"])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_a_published_file_becomes_a_network(name, prefix):
    state = {prefix + key: value for key, value in published(name).items()}
    network = build_from_state(state, num_heads=4, num_groups=16)
    assert network.encoder.is_causal == (name == "causal") and network.encoder.group.skip_origin
    assert network.encoder.queries.counts == {"image": 13, "text": 3}
    features = network.embed(torch.rand(2, 60, 3))
    assert features.shape == (2, 1280) and features.isfinite().all() and not features.requires_grad


@pytest.mark.parametrize("name", ["zeroshot", "causal"])
def test_keys_go_both_ways(name):
    state = published(name)
    assert is_published(state) and identify(state).name == "ReCon++ pretraining"
    back = to_published(from_published(state))
    assert back.keys() == state.keys() and all(torch.equal(back[key], state[key]) for key in state)
    ours = from_published(state)
    assert not is_published(ours)
    network = build_from_state(ours, num_heads=4, num_groups=16)
    assert network.state_dict().keys() == ours.keys() and not network.encoder.group.skip_origin


def test_sizes_show_in_the_weights(make_network):
    plain = sizes_of_reconpp(make_network().state_dict())
    assert plain["mask_type"] == "random" and not plain["layer_scale"] and not plain["colors"]
    assert (plain["embed_dim"], plain["depth"], plain["decoder_depth"], plain["group_size"]) == (16, 2, 2, 4)
    rich = make_network("causal", colors=True, layer_scale=True, large_embedding=True, mlp_ratio=48 / 11)
    sizes = sizes_of_reconpp(rich.state_dict())
    assert sizes["mask_type"] == "causal" and sizes["layer_scale"] and sizes["colors"] and sizes["large_embedding"]
    assert int(16 * sizes["mlp_ratio"]) == int(16 * 48 / 11)
    again = build_from_state(rich.state_dict(), num_heads=2, num_groups=12, queries={"image": 4, "text": 2})
    cloud = torch.rand(2, 30, 6)
    torch.testing.assert_close(again.embed(cloud), rich.eval().embed(cloud))


def test_the_large_embedding_has_the_published_names(make_network):
    state = to_published(make_network(large_embedding=True).state_dict())
    for key, shape in (("first_conv.6", (1024, 512, 1)), ("second_conv.0", (2048, 2048, 1)), ("first_conv.4", (512,))):
        assert state[f"model.embed.{key}.weight"].shape == shape


def test_what_does_not_fit_is_refused(make_network):
    with pytest.raises(InputError, match="no|not those of a ReCon"):
        build_from_state({"a": torch.zeros(1)})
    with pytest.raises(InputError, match="how many num_heads"):
        build_from_state(published("causal"))
    with pytest.raises(InputError, match="queries"):
        build_from_state(make_network().state_dict(), num_heads=2)
    state = published("causal")
    del state["model.encoder.ln_f1.weight"]
    with pytest.raises(InputError, match="lack 'encoder.norm.weight'"):
        build_from_state(state, num_heads=4)


def test_both_stacks_start_from_a_vit():
    """Rows of qkv become those of q and of kv."""
    qkv = torch.arange(12.0).view(6, 2)
    state = {"blocks.3.attn.qkv.weight": qkv, "blocks.3.ls1.gamma": torch.ones(2), "norm.weight": torch.ones(2)}
    ours = from_vit(state)
    assert set(ours) == {
        f"encoder.blocks.3.{name}"
        for name in ("local.attn.qkv.weight", "query.attn.q.weight", "query.attn.kv.weight", "local.ls1.gamma")
    } | {"encoder.blocks.3.query.ls1.gamma"}
    assert torch.equal(ours["encoder.blocks.3.query.attn.q.weight"], qkv[:2])
    assert torch.equal(ours["encoder.blocks.3.query.attn.kv.weight"], qkv[2:])
    with pytest.raises(InputError, match="attn.q_norm"):
        from_vit({"blocks.0.attn.q_norm.weight": torch.ones(1)})
