"""How many multiplications a ReCon++ network takes, counted from its sizes.

Shape legend: G groups, K points per group, ch channels of a point, T patch tokens seen, C width, F hidden width of an
MLP, Q queries.
"""

from collections.abc import Mapping
from typing import Any

from pointrecon.models.patches.masking import num_masked
from pointrecon.models.reconpp.encoder import CAUSAL

BACKWARD = 3  # a training step in forward passes: one forward, two for the gradients of inputs and of weights


def flops_of_step(model: Mapping[str, Any], dim: int = 1280) -> float:
    """Floating-point operations of a training step for one shape, two a multiplication; without norms and softmax.

    Args:
        model: the section `model` of a config with `type: ReConPP`.
        dim: width of the teachers.
    """
    is_causal = model["mask_type"] == CAUSAL
    groups, width = model["num_groups"], model["embed_dim"]
    seen = groups if is_causal else groups - num_masked(groups, model["mask_ratio"])
    queries = sum(count for name, count in model["queries"].items() if name != "cls")
    decoded = model["decoder_depth"] * local_block(groups, width, 4 * width)
    coords = (groups if is_causal else groups - seen) * width * model["group_size"] * (6 if model["colors"] else 3)
    total = flops_of_embedding(model, seen, queries) / 2 + decoded + coords + queries * width * dim
    return 2.0 * BACKWARD * total


def flops_of_embedding(model: Mapping[str, Any], seen: int | None = None, queries: int | None = None) -> float:
    """The same of one forward pass through the encoder.

    Args:
        model: as above.
        seen: T; None: all patches, as in recognition.
        queries: Q; None: those of the config but for `cls`.
    """
    width, groups = model["embed_dim"], model["num_groups"]
    seen = groups if seen is None else seen
    if queries is None:
        queries = sum(count for name, count in model["queries"].items() if name != "cls")
    hidden = int(width * model["mlp_ratio"])
    a_block = local_block(seen, width, hidden) + query_block(queries, seen, width, hidden)
    return 2.0 * (patch_embedding(model, seen) + model["depth"] * a_block)


def local_block(tokens: int, width: int, hidden: int) -> int:
    """Multiplications of self-attention among tokens and an MLP."""
    return tokens * (4 * width * width + 2 * width * hidden) + 2 * tokens * tokens * width


def query_block(queries: int, tokens: int, width: int, hidden: int) -> int:
    """Multiplications of cross-attention of queries to tokens and an MLP."""
    own = queries * (2 * width * width + 2 * width * hidden)
    return own + 2 * tokens * width * width + 2 * queries * tokens * width


def patch_embedding(model: Mapping[str, Any], seen: int) -> int:
    """Multiplications of the patch embedding as it runs: hidden patches end at the statistics, if they are embedded."""
    size, first = model["group_size"], 6 if model["colors"] else 3
    whole = model["num_groups"] if model["embed_masked"] else seen
    width, before = model["patch_width"], 0
    if model["large_embedding"]:
        width, before, first = 2048, first * 256, 256
    # Per point: into the first maximum for all patches, from there on for those that are seen.
    for_all = before + first * width // 4 + (width // 4) * (width // 2)
    for_seen = (width // 4) * width + width * model["embed_dim"]
    return size * (whole * for_all + seen * for_seen) + whole * (width // 2) * width
