"""An encoder from its published weights: sizes from their shapes, what they do not show from the published settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pointrecon.models.blocks.batch_norm import is_possible
from pointrecon.models.open.blocks import BlockShape
from pointrecon.models.open.encoder import OpenEncoder
from pointrecon.models.open.keys import OPENSHAPE, ULIP2, UNI3D, family_of, to_ours
from pointrecon.models.open.patches import BallPatches, NearestPatches
from pointrecon.models.open.recipes import Recipe
from pointrecon.utils.errors import InputError

HEAD_WIDTH = 64  # of OpenShape, whatever its width
UNI3D_HEADS = {192: ("ti", 3), 384: ("s", 6), 768: ("b", 12), 1024: ("l", 16), 1408: ("g", 16)}
# OpenShape's scalings, (width, depth, set abstraction) -> patches, points of a ball, radius.
OPENSHAPE_CUTS = {
    (256, 6, 96): (64, 256, 0.4),
    (512, 6, 128): (64, 256, 0.4),
    (512, 12, 128): (128, 128, 0.35),
    (512, 12, 256): (384, 64, 0.2),
    (768, 12, 256): (512, 64, 0.2),
    (768, 24, 256): (512, 64, 0.2),
}
# The text networks that each was trained against, by width of the shared space: open_clip's model and tag.
TEXT_TEACHERS: Mapping[tuple[str, int], tuple[str, str]] = {
    (UNI3D, 1024): ("EVA02-E-14-plus", "laion2b_s9b_b144k"),
    (OPENSHAPE, 1280): ("ViT-bigG-14", "laion2b_s39b_b160k"),
    (OPENSHAPE, 768): ("ViT-L-14", "openai"),
    (OPENSHAPE, 512): ("ViT-B-32", "openai"),
    (ULIP2, 1280): ("ViT-bigG-14", "laion2b_s39b_b160k"),
}
UNSEEN = ("num_heads", "num_groups", "group_size", "radius")  # what no weight shows


@dataclass(frozen=True)
class OpenInfo:
    """What is known of an encoder beside its weights.

    Attributes:
        family: Uni3D, OpenShape-PointBERT or ULIP-2.
        name: With its size, such as `Uni3D-b`.
        text_teacher: open_clip's model and tag, whose text shares its space; None: not known.
        guessed: What no weight shows and nobody gave: the published values are taken.
        unused: Keys of the file that are of no use here.
        logit_scale: The learnt temperature's logarithm, if the file has it.
    """

    family: str
    name: str
    text_teacher: tuple[str, str] | None
    guessed: tuple[str, ...]
    unused: tuple[str, ...]
    logit_scale: float | None


def build_from_state(
    state: Mapping[str, Tensor], *, logit_scale: Tensor | None = None, **changes: Any
) -> tuple[OpenEncoder, OpenInfo]:
    """The encoder that published weights belong to, with them, in evaluation mode.

    Args:
        state: Published key names, whatever wrappers stand before them.
        logit_scale: Where a file keeps it beside its weights.
        changes: `num_heads`, `num_groups`, `group_size` and, for OpenShape, `radius`: needed for sizes that were never
            published, and to cut clouds finer or coarser.

    Raises:
        InputError: Unknown weights, a size that nobody published without these numbers, or tensors that are missing,
            of another shape or not finite.
    """
    family = family_of(state)
    if family is None:
        raise InputError("the weights are of none of Uni3D, OpenShape-PointBERT and ULIP-2")
    unknown = [name for name in changes if name not in UNSEEN or (name == "radius" and family != OPENSHAPE)]
    if unknown:
        raise InputError(f"{family} has no setting '{unknown[0]}'; there are: {', '.join(UNSEEN)} (OpenShape's)")
    ours, unused = to_ours(state, family)
    sizes = _Sizes(ours, family, changes)
    encoder, name = {UNI3D: _uni3d, OPENSHAPE: _openshape, ULIP2: _ulip2}[family](sizes)
    extra = _load(encoder, ours, family)
    scale = next((value for key, value in state.items() if key.endswith("logit_scale")), logit_scale)
    return encoder, OpenInfo(
        family,
        name,
        TEXT_TEACHERS.get((family, encoder.out_dim)),
        tuple(sizes.guessed),
        (*unused, *extra),
        None if scale is None else float(scale),
    )


class _Sizes:
    """Reads sizes from shapes, and takes what they do not show from the user or from the published settings."""

    def __init__(self, state: Mapping[str, Tensor], family: str, changes: Mapping[str, Any]) -> None:
        self.state, self.family, self.changes = state, family, changes
        self.guessed: list[str] = []
        blocks = {int(found[1]) for key in state if (found := re.match(r"blocks\.(\d+)\.", key))}
        self.depth = len(blocks)
        if blocks != set(range(self.depth)) or not blocks:
            raise InputError(f"these weights of {family} have no block, or lack some: there are {sorted(blocks)}")
        self.dim = self.shape("cls_token")[-1]
        self.out_dim = self.shape("head.weight")[0]

    def shape(self, key: str) -> tuple[int, ...]:
        if key not in self.state:
            raise InputError(f"these weights of {self.family} lack '{key}' (our name); give the whole file")
        return tuple(self.state[key].shape)

    def unseen(self, name: str, published: Any) -> Any:
        if name in self.changes:
            value = self.changes[name]
            if not isinstance(value, (int, float)) or value <= 0 or (name != "radius" and value != int(value)):
                raise InputError(f"{name} is {value!r}, but must be a positive number")
            return value
        if published is None:
            raise InputError(
                f"{self.family} of width {self.dim} and depth {self.depth} was never published, so {name} is not "
                f"known and no weight shows it; give {name}=..."
            )
        self.guessed.append(name)
        return published

    def block(self, num_heads: int | None, **options: Any) -> BlockShape:
        first = "blocks.0."
        hidden = self.shape(f"{first}mlp.fc2.weight")[1]
        return BlockShape(
            dim=self.dim,
            num_heads=self.unseen("num_heads", num_heads),
            inner=self.shape(f"{first}attn.proj.weight")[1],
            hidden=hidden,
            is_gated=self.shape(f"{first}mlp.fc1.weight")[0] == 2 * hidden,
            has_mlp_norm=f"{first}mlp.norm.weight" in self.state,
            qkv_bias=f"{first}attn.qkv.bias" in self.state,
            **options,
        )

    def nearest(self, num_groups: int | None, group_size: int | None) -> NearestPatches:
        shapes = [self.shape(f"patches.embed.fc{layer}.weight") for layer in (1, 2, 3, 4)]
        if shapes[0][1] != 6:
            raise InputError(f"this {self.family} sees {shapes[0][1]} channels a point; only xyz with rgb is read here")
        widths = (shapes[0][0], shapes[1][0], shapes[2][0], shapes[3][0])
        return NearestPatches(
            widths, self.unseen("num_groups", num_groups), self.unseen("group_size", group_size), shapes[0][1]
        )


def _uni3d(sizes: _Sizes) -> tuple[OpenEncoder, str]:
    size, heads = UNI3D_HEADS.get(sizes.dim, (None, None))
    cut = (512, 64) if size else (None, None)
    patches = sizes.nearest(*cut)
    width = sizes.shape("lift.weight")[1]
    encoder = OpenEncoder(patches, width, sizes.block(heads, eps=1e-6), sizes.depth, sizes.out_dim)
    return encoder, f"Uni3D-{size or 'own size'}"


def _ulip2(sizes: _Sizes) -> tuple[OpenEncoder, str]:
    is_published = sizes.dim == 384
    patches = sizes.nearest(*((512, 32) if is_published else (None, None)))
    width = sizes.shape("lift.weight")[1]
    block = sizes.block(6 if is_published else None)
    options: dict[str, Any] = {"positions": "every", "reads": "class_max", "head_bias": False}
    return OpenEncoder(patches, width, block, sizes.depth, sizes.out_dim, **options), "ULIP-2"


def _openshape(sizes: _Sizes) -> tuple[OpenEncoder, str]:
    count = sum(bool(re.match(r"patches\.maps\.\d+\.weight", key)) for key in sizes.state)
    widths = tuple(sizes.shape(f"patches.maps.{layer}.weight")[0] for layer in range(count))
    groups, size, radius = OPENSHAPE_CUTS.get((sizes.dim, sizes.depth, widths[-1]), (None, None, None))
    patches = BallPatches(
        widths,
        sizes.unseen("num_groups", groups),
        sizes.unseen("group_size", size),
        sizes.unseen("radius", radius),
        sizes.shape("patches.maps.0.weight")[1],
    )
    inner = sizes.shape("blocks.0.attn.proj.weight")[1]
    block = sizes.block(inner // HEAD_WIDTH if inner % HEAD_WIDTH == 0 else None)
    axes = "y and z swapped" if sizes.out_dim == 1280 else "as stored"
    recipe = Recipe(axes=axes, is_refilled=True, has_guard=True)
    options: dict[str, Any] = {"positions": "none", "lifts_centers": True, "has_norm": False, "recipe": recipe}
    encoder = OpenEncoder(patches, widths[-1], block, sizes.depth, sizes.out_dim, **options)
    return encoder, f"OpenShape-PointBERT ({sizes.out_dim}-d)"


def _load(encoder: OpenEncoder, state: dict[str, Tensor], family: str) -> list[str]:
    """Fills the encoder and returns what of the state it has no place for.

    Raises:
        InputError: A tensor is missing, of another shape, or not finite.
    """
    wanted = encoder.state_dict()
    for key in wanted:
        if key.endswith("num_batches_tracked"):
            state.setdefault(key, torch.tensor(1 << 20))  # evaluation does not read it
    missing = [key for key in wanted if key not in state]
    if missing:
        raise InputError(
            f"these weights of {family} lack {len(missing)} tensors, for example '{missing[0]}' (our name); give the "
            "whole file"
        )
    for key, value in wanted.items():
        if state[key].shape != value.shape:
            raise InputError(
                f"'{key}' (our name) of these weights of {family} is of shape {tuple(state[key].shape)}, but the other "
                f"tensors ask for {tuple(value.shape)}"
            )
        if not is_possible(key, state[key]):
            raise InputError(
                f"these weights of {family} are damaged: '{key}' (our name) has non-finite values, or a variance or a "
                "count below zero"
            )
    encoder.load_state_dict({key: state[key] for key in wanted})
    encoder.eval().requires_grad_(False)
    return [key for key in state if key not in wanted]
