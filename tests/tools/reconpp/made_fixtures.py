"""Fixture folders of sizes that the bundled ones do not have: weights by their published names, and numbers of them."""

import json

import numpy as np
import torch
from torch.nn import functional as F

from pointrecon.extensions import ops
from pointrecon.models.losses.chamfer import Chamfer, color_loss
from pointrecon.models.losses.distillation import Distillation, matched_sum_distillation
from pointrecon.models.open.build import build_from_state
from pointrecon.models.patches.masking import split_of_mask
from pointrecon.models.published.reconpp import to_published_reconpp
from pointrecon.models.reconpp.classifier import ReConPPClassifier
from pointrecon.models.reconpp.decoder import ReConPPDecoder
from pointrecon.models.reconpp.encoder import ReConPPEncoder
from pointrecon.models.reconpp.network import ReConPP, hidden_patches
from pointrecon.models.reconpp.order import CausalSplit
from pointrecon.tools.reconpp.fixture import gradients_of

# Names, widths, depths, heads, patches, queries, teachers: each another than in the bundled fixture.
VARIANTS = {
    "wide_rgb": {"dim": 24, "depth": 1, "heads": 3, "decoder": 1, "groups": 9, "size": 5, "points": 40, "batch": 2}
    | {"queries": (4, 2), "width": 12, "colors": True, "stop_grad": True, "layer_scale": True, "patch_width": 24},
    "plain": {"dim": 16, "depth": 2, "heads": 8, "decoder": 3, "groups": 7, "size": 4, "points": 32, "batch": 3}
    | {"queries": (10, 1), "width": 6, "stop_grad": False, "mlp_ratio": 48 / 11, "patch_width": 32},
    "first_chain": {"dim": 32, "depth": 1, "heads": 2, "decoder": 1, "groups": 14, "size": 6, "points": 50, "batch": 2}
    | {"queries": (3, 3), "width": 10, "is_causal": True, "stop_grad": True, "patch_width": 16},
    "chain": {"dim": 22, "depth": 3, "heads": 2, "decoder": 2, "groups": 13, "size": 3, "points": 30, "batch": 5}
    | {"queries": (5, 2), "width": 8, "is_causal": True, "stop_grad": False, "large": True},
}


def make_network(it):
    mask_type = "causal" if it.get("is_causal") else "random"
    encoder = ReConPPEncoder(
        it["dim"], it["depth"], it["heads"], it["groups"], it["size"],
        mlp_ratio=it.get("mlp_ratio", 4.0), drop_path=0.0, stop_grad=it["stop_grad"],
        patch_width=it.get("patch_width", 512), queries=dict(zip(("image", "text"), it["queries"], strict=True)),
        mask_type=mask_type, large_embedding=it.get("large", False), layer_scale=it.get("layer_scale", False),
        colors=it.get("colors", False),
    )  # fmt: skip
    colors = it.get("colors", False)
    decoder = ReConPPDecoder(it["dim"], it["decoder"], it["heads"], it["size"], mask_type=mask_type, colors=colors)
    teach = {
        name: Distillation(it["width"], matched_sum_distillation, 5.0, normalize=True) for name in ("image", "text")
    }
    network = ReConPP(encoder, decoder, mask_type=mask_type, teachers=teach).double()
    for parameter in network.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return network


def make_inputs(it):
    channels, groups = 6 if it.get("colors") else 3, it["groups"]
    points = torch.rand(it["batch"], it["points"], channels)
    points[..., :3] = 2 * points[..., :3] - 1
    if it.get("is_causal"):
        mask = torch.triu(torch.ones(groups, groups, dtype=torch.bool), 1)
    else:
        mask = torch.stack([torch.randperm(groups) < groups // 2 for _ in range(it["batch"])])
    features = [torch.randn(it["batch"], count, it["width"]) for count in it["queries"]]
    features[1][0, 1:] = 0  # padding
    return points, mask, features


def write_variant(folder, name, it):
    """Writes its weights; returns its section of config.json, its numbers and the network."""
    network, (points, mask, features) = make_network(it), make_inputs(it)
    state = {key: x.float() for key, x in to_published_reconpp(network.state_dict()).items()}
    torch.save({"base_model": {f"module.{key}": x for key, x in state.items()}}, folder / f"{name}.pth")
    for parameter in network.parameters():
        parameter.data = parameter.data.float().double()
    causal = it.get("is_causal", False)
    split = CausalSplit(mask, it["batch"]) if causal else split_of_mask(mask)
    found = {"points": points, "mask": mask, "img": features[0], "text": features[1]}
    found["fps"] = ops.fps(points[..., :3].contiguous(), it["groups"])
    patches, centers = (x.double() for x in network.encoder.group(points))
    found["center"], found["patch_sum"] = centers, patches.sum(2)
    targets = dict(zip(("image", "text"), (x.double() for x in features), strict=True))
    targets |= {f"{key}_mask": (x != 0).any(-1) for key, x in list(targets.items())}
    network.eval()
    with torch.no_grad():
        queries, tokens = network.encoder(patches, centers, split)
        rebuilt, hidden = network.decoder(tokens, centers, split), hidden_patches(patches, split)
        found |= {"eval.tokens": network.encoder.patch_embed(patches), "eval.encoder.local": tokens}
        found |= {"eval.encoder.global": queries, "eval.rebuilt": rebuilt.flatten(0, 1)}
        terms = network.forward_queries(queries, targets)
        found |= {"eval.loss.img": terms["image"], "eval.loss.text": terms["text"]}
        for key, norm in (("cd_l1", "l1"), ("cd_l2", "l2")):
            found[f"eval.loss.{key}"] = Chamfer(norm)(rebuilt[..., :3], hidden[..., :3])
        if it.get("colors"):
            found["eval.loss.color"] = color_loss(rebuilt.flatten(0, 1), hidden.flatten(0, 1))
        found["zeroshot.embedding"] = network.embed(points.double())
    network.train()
    statistics = {key: x.clone() for key, x in network.state_dict().items()}
    group, network.encoder.group.forward = network.encoder.group.forward, lambda _: (patches, centers)
    sum(network(points.double(), targets, split=split).values()).backward()
    gradients = {key: grad for key, grad in gradients_of(network).items() if not key.startswith("model.norm.")}
    found["train.gradnorm.all"] = np.array([-1.0 if g is None else float(g.norm()) for g in gradients.values()])
    found["param_names"] = np.array(list(gradients))
    network.encoder.group.forward = group
    network.load_state_dict(statistics)
    config = {"num_heads": it["heads"], "num_group": it["groups"], "group_size": it["size"]}
    config |= {"mask_type": "causal" if causal else "rand", "stop_grad": it["stop_grad"]}
    config |= {"img_queries": it["queries"][0], "text_queries": it["queries"][1], "npoints": it["points"]}
    return config, {f"{name}.{key}": np.asarray(x) for key, x in found.items()}, network


def write_classifier(folder, base, points):
    """A head of 9 classes on a causal variant; its numbers."""
    base.encoder.stop_grad = False
    network = ReConPPClassifier(base.encoder, 9, dropout=0.0, decoder=base.decoder).double().eval()
    own = {key: x for key, x in network.state_dict().items() if key.startswith(("head.", "cls_token"))}
    own = {key: x.float() if x.is_floating_point() else x for key, x in own.items()}
    torch.save(to_published_reconpp(own), folder / "cls_head.pth")
    network.load_state_dict({key: x.double() for key, x in own.items()}, strict=False)
    labels = torch.arange(len(points)) % 9
    with torch.no_grad():
        logits = network(points.double())
    entropy = F.cross_entropy(logits, labels).numpy()
    return {"cls.labels": labels.numpy(), "cls.eval.logits": logits.numpy(), "cls.eval.ce": entropy}


def write_reconpp(folder):
    """A folder of four variants and a classifier."""
    torch.manual_seed(0)
    folder.mkdir()
    config, expected = {}, {}
    for name, it in VARIANTS.items():
        config[name], found, network = write_variant(folder, name, it)
        expected |= found
    expected |= write_classifier(folder, network, torch.from_numpy(expected["chain.points"]))
    (folder / "config.json").write_text(json.dumps({**config, "cls_dim": 9}))
    np.savez(folder / "expected.npz", **expected)
    return folder


def norms(name, dim):
    return {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}


def statistics(name, dim):
    return {**norms(name, dim), f"{name}.running_mean": (dim,), f"{name}.running_var": (dim,)}


def linear(name, rows, columns, *, bias=True):
    return {f"{name}.weight": (rows, columns), **({f"{name}.bias": (rows,)} if bias else {})}


def mini_pointnet(first, second, third, out):
    conv = {**linear("encoder.first_conv.0", first, 6), **linear("encoder.first_conv.3", second, first)}
    conv |= {**linear("encoder.second_conv.0", third, 2 * second), **linear("encoder.second_conv.3", out, third)}
    conv = {key: (*shape, 1) if len(shape) == 2 else shape for key, shape in conv.items()}
    return {**conv, **statistics("encoder.first_conv.1", first), **statistics("encoder.second_conv.1", third)}


def uni3d(form, dim=20, depth=3, hidden=28, out=14):
    shapes = {"cls_token": (1, 1, dim), "cls_pos": (1, 1, dim), **mini_pointnet(16, 24, 20, 18)}
    shapes |= {**linear("encoder2trans", dim, 18), **linear("trans2embed", out, dim)}
    shapes |= {**linear("pos_embed.0", 128, 3), **linear("pos_embed.2", dim, 128), **norms("visual.fc_norm", dim)}
    for block in (f"visual.blocks.{layer}" for layer in range(depth)):
        shapes |= {**norms(f"{block}.norm1", dim), **norms(f"{block}.norm2", dim)}
        shapes |= {**linear(f"{block}.attn.proj", dim, dim), **linear(f"{block}.mlp.fc2", dim, hidden)}
        if form == "split":
            shapes |= {**linear(f"{block}.attn.q_proj", dim, dim), **linear(f"{block}.attn.v_proj", dim, dim)}
            shapes |= {**linear(f"{block}.attn.k_proj", dim, dim, bias=False), **norms(f"{block}.mlp.norm", hidden)}
            shapes |= {**linear(f"{block}.mlp.fc1_g", hidden, dim), **linear(f"{block}.mlp.fc1_x", hidden, dim)}
        else:
            rows = 2 * hidden if form == "fused" else hidden
            shapes |= {f"{block}.attn.q_bias": (dim,), f"{block}.attn.v_bias": (dim,)}
            shapes |= {**linear(f"{block}.attn.qkv", 3 * dim, dim, bias=False), **linear(f"{block}.mlp.fc1", rows, dim)}
    return {f"point_encoder.{key}": shape for key, shape in shapes.items()}


def openshape(dim=18, depth=1, inner=3 * 10, hidden=26, out=22):
    widths, shapes = (9, 8, 12, 21), {"ppat.cls_token": (dim,)}
    for layer, (columns, rows) in enumerate(zip(widths, widths[1:], strict=False)):
        shapes |= {f"ppat.sa.mlp_convs.{layer}.weight": (rows, columns, 1, 1)}
        shapes |= {f"ppat.sa.mlp_convs.{layer}.bias": (rows,), **statistics(f"ppat.sa.mlp_bns.{layer}", rows)}
    shapes |= {"ppat.lift.0.weight": (dim, 3 + widths[-1], 1), "ppat.lift.0.bias": (dim,), **norms("ppat.lift.2", dim)}
    for layer in (f"ppat.transformer.layers.{row}" for row in range(depth)):
        shapes |= {**norms(f"{layer}.0.norm", dim), **norms(f"{layer}.1.norm", dim)}
        shapes |= linear(f"{layer}.0.fn.to_qkv", 3 * inner, dim, bias=False)
        shapes |= linear(f"{layer}.0.fn.to_out.0", dim, inner)
        shapes |= {**linear(f"{layer}.1.fn.net.0", hidden, dim), **linear(f"{layer}.1.fn.net.3", dim, hidden)}
    return {f"module.{key}": shape for key, shape in {**shapes, **linear("proj", out, dim)}.items()}


def ulip2(dim=30, depth=3, out=11):
    shapes = {"cls_token": (1, 1, dim), "cls_pos": (1, 1, dim), **mini_pointnet(10, 14, 16, 17), **norms("norm", dim)}
    shapes |= {**linear("reduce_dim", dim, 17), **linear("pos_embed.0", 128, 3), **linear("pos_embed.2", dim, 128)}
    for block in (f"blocks.blocks.{layer}" for layer in range(depth)):
        shapes |= {**norms(f"{block}.norm1", dim), **norms(f"{block}.norm2", dim)}
        shapes |= {**linear(f"{block}.attn.qkv", 3 * dim, dim, bias=False), **linear(f"{block}.attn.proj", dim, dim)}
        shapes |= {**linear(f"{block}.mlp.fc1", 4 * dim, dim), **linear(f"{block}.mlp.fc2", dim, 4 * dim)}
    shapes = {f"point_encoder.{key}": shape for key, shape in shapes.items()}
    return {f"module.{key}": shape for key, shape in {**shapes, "pc_projection": (2 * dim, out)}.items()}


# Of a file's stem: its tensors, its section of config.json with our names of its settings, where its weights are.
OTHERS = {
    "uni3d_split": (uni3d("split"), {"heads": 5, "groups": 9, "group_size": 6}, "module"),
    "uni3d_gelu": (uni3d("gelu"), {"heads": 5, "groups": 9, "group_size": 6}, "module"),
    "openshape": (openshape(), {"heads": 3, "patches": 7, "samples": 5, "radius": 0.6}, "state_dict"),
    "ulip2": (ulip2(), {"heads": 6, "groups": 11, "group_size": 3}, "model"),
}
OURS = {"heads": "num_heads", "groups": "num_groups", "patches": "num_groups", "samples": "group_size"}


def write_others(folder):
    """A folder of Uni3D in two forms, OpenShape-PointBERT and ULIP-2."""
    torch.manual_seed(0)
    folder.mkdir()
    config, expected = {}, {}
    for stem, (shapes, settings, container) in OTHERS.items():
        section, _, form = stem.partition("_")
        state = {key: 0.5 * torch.randn(shape) for key, shape in shapes.items()}
        state = {key: x.abs() + 0.5 if key.endswith("running_var") else x for key, x in state.items()}
        torch.save({container: state}, folder / f"{stem}.pth")
        config[section] = settings
        points = torch.rand(2, 37, 6) * torch.tensor([2.0] * 3 + [1.0] * 3) - torch.tensor([1.0] * 3 + [0.0] * 3)
        points = torch.from_numpy(expected.setdefault(f"{section}.points", points.numpy()))
        encoder, _ = build_from_state(state, **{OURS.get(key, key): value for key, value in settings.items()})
        prefix = f"{section}.{form}." if form else f"{section}."
        with torch.no_grad():
            expected[f"{prefix}tokens"] = encoder.tokenize(points)[1].numpy()
            expected[f"{prefix}embedding"] = encoder(points).numpy()
    (folder / "config.json").write_text(json.dumps(config))
    np.savez(folder / "expected.npz", **expected)
    return folder
