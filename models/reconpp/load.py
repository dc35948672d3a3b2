"""A ReCon++ network from its weights alone."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pointrecon.models.losses.distillation import Distillation
from pointrecon.models.published.encoder import strip_wrappers
from pointrecon.models.published.reconpp import (
    HEADS,
    PUBLISHED_QUERIES,
    from_published_reconpp,
    is_our_reconpp,
    is_reconpp,
)
from pointrecon.models.reconpp.decoder import ReConPPDecoder
from pointrecon.models.reconpp.encoder import CAUSAL, ReConPPEncoder
from pointrecon.models.reconpp.network import ReConPP
from pointrecon.utils.errors import InputError

NUM_GROUPS = {True: 64, False: 512}  # published, of the causal variant and of the other one
PROJECTIONS = {"image": "image_proj.weight", "text": "text_proj.weight"}


def sizes_of_reconpp(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the weights say of their network, by the names of the section `model`.

    Args:
        state: in our names.
    """
    sizes: dict[str, Any] = {"type": "ReConPP"}
    if "encoder.start" in state or "encoder.pos_embed.0.weight" in state:
        sizes["mask_type"] = CAUSAL if "encoder.start" in state else "random"
    sizes["layer_scale"] = any(key.endswith(".ls1.gamma") for key in state)
    sizes["depth"] = len({key.split(".")[2] for key in state if key.startswith("encoder.blocks.")})
    large, small = "encoder.patch_embed.fc0.weight", "encoder.patch_embed.fc1.weight"
    if small in state:
        sizes["large_embedding"] = large in state
        first = state.get(large, state[small])
        if first.dim() == 2:
            sizes["colors"] = first.shape[1] == 6
        if not sizes["large_embedding"]:
            sizes["patch_width"] = 4 * len(state[small])
    query, hidden = state.get("encoder.global_query"), state.get("encoder.blocks.0.local.mlp.fc1.weight")
    if query is not None and query.dim() == 3 and query.shape[1] in PUBLISHED_QUERIES:
        sizes["queries"] = dict(zip(("cls", "image", "text"), (0, *PUBLISHED_QUERIES[query.shape[1]]), strict=True))
    if hidden is not None and hidden.dim() == 2 and hidden.shape[1]:
        dim = sizes["embed_dim"] = hidden.shape[1]
        ratio = len(hidden) / dim
        sizes["mlp_ratio"] = ratio if int(dim * ratio) == len(hidden) else (len(hidden) + 0.5) / dim
        if dim in HEADS:
            sizes["num_heads"] = sizes["decoder_num_heads"] = HEADS[dim]
    if "decoder.coords.weight" in state:
        sizes["decoder_depth"] = len({key.split(".")[2] for key in state if key.startswith("decoder.blocks.")})
        sizes["group_size"] = len(state["decoder.coords.weight"]) // (6 if sizes.get("colors") else 3)
    return sizes


def build_from_state(state: Mapping[str, Tensor], **changes: Any) -> ReConPP:
    """The pretraining network that weights belong to, with these weights, in evaluation mode and without gradients.

    `embed(points)` of it gives the features for zero-shot recognition, `encoder.embed(points)` queries and tokens.

    Args:
        state: published keys or ours, with or without wrappers' prefixes.
        changes: keys of the section `model` that the weights do not show, or that are to be others: `num_heads`,
            `num_groups`, `group_size`, `queries`, `color_fill`.

    Raises:
        InputError: it is no ReCon++ state, does not say enough, or lacks weights.
    """
    keys = strip_wrappers(state)
    if is_reconpp(keys):
        keys = from_published_reconpp(keys)
        changes = {"skip_origin": True, **changes}
    elif not is_our_reconpp(keys):
        raise InputError("the weights are not those of a ReCon++ network; its files have 'global_query'")
    sizes = {**sizes_of_reconpp(keys), **changes}
    unknown = [key for key in ("embed_dim", "num_heads", "queries") if key not in sizes]
    if unknown:
        raise InputError(f"the weights do not say how many {' and '.join(unknown)} there are; give {unknown[0]}")
    encoder_keys: tuple[str, ...] = ("embed_dim", "depth", "num_heads", "mlp_ratio", "queries", "mask_type")
    encoder_keys += ("large_embedding", "patch_width", "layer_scale", "colors", "color_fill", "skip_origin")
    encoder_keys += ("group_size", "num_groups")
    sizes.setdefault("num_groups", NUM_GROUPS[sizes["mask_type"] == CAUSAL])
    sizes.setdefault("group_size", 32)
    with torch.device("meta"):  # nothing is drawn that the weights replace
        encoder = ReConPPEncoder(**{key: sizes[key] for key in encoder_keys if key in sizes}, drop_path=0.0)
        decoder = ReConPPDecoder(
            sizes["embed_dim"],
            sizes.get("decoder_depth", 4),
            sizes.get("decoder_num_heads", sizes["num_heads"]),
            sizes["group_size"],
            mask_type=sizes["mask_type"],
            colors=encoder.channels > 3,
        )
        dims = {name: len(keys[key]) for name, key in PROJECTIONS.items() if key in keys}
        network = ReConPP(
            encoder,
            decoder,
            mask_type=sizes["mask_type"],
            teachers={name: Distillation(dim) for name, dim in dims.items()},
        )
    wanted = network.state_dict()
    lacking = [key for key in wanted if key not in keys]
    differing = [key for key in wanted if key in keys and keys[key].shape != wanted[key].shape]
    if lacking or differing:
        what = f"lack '{lacking[0]}'" if lacking else f"have '{differing[0]}' in another shape"
        raise InputError(f"the weights are of a ReCon++ network, but {what}; give a pretraining file, and its sizes")
    own = {key: keys[key].to(x.dtype) for key, x in wanted.items()}
    network.load_state_dict(own, assign=True)
    return network.eval().requires_grad_(False)
