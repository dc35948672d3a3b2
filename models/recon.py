"""The pretraining network.

Shape legend: B batch, N points, G groups, K points per group, M masked groups, T visible tokens, C channels,
Q queries of all names, q queries of one name, D width of a teacher's features, R targets of a sample.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pointrecon.models import MODELS
from pointrecon.models.encoder import PatchEncoder
from pointrecon.models.heads import make_contrast_head
from pointrecon.models.losses.chamfer import Chamfer
from pointrecon.models.losses.contrast import Contrast
from pointrecon.models.losses.distillation import Distillation
from pointrecon.models.losses.multi_positive import BIAS
from pointrecon.models.patches.masking import MASKS, Split, num_masked, take_groups
from pointrecon.utils.errors import InputError

try:  # torch.compiler.disable, but the compiler is imported at the first call: half of what a program needs to start
    from torch._compile import _disable_dynamo as outside_compiler
except ImportError:
    outside_compiler = torch.compiler.disable

MAX_SCALE = math.log(100)  # of a learnt temperature, as in CLIP
MASK = "_mask"  # a target's name with this behind it: which of its rows are there


@MODELS.register()
class ReCon(nn.Module):
    """Contrast guided by reconstruction (Qi et al., ICML 2023).

    Args:
        encoder: its stop_grad should be on.
        decoder: as wide as the encoder.
        mask_ratio: int(mask_ratio * G) patches are masked.
        mask_type: one of `MASKS`.
        teachers: what is learnt from each teacher, by the name of its queries.
        chamfer: the reconstruction loss.
        contrast: the class-wise contrast of the cls query; None: off, as published.

    Raises:
        InputError: a teacher, or the contrast, without queries of its name.

    Attributes:
        may_lack: what a checkpoint need not have: learnt temperatures.
    """

    may_lack: tuple[str, ...] = ()

    def __init__(
        self,
        encoder: PatchEncoder,
        decoder: nn.Module,
        *,
        mask_ratio: float = 0.6,
        mask_type: str = "random",
        teachers: Mapping[str, Distillation] | None = None,
        chamfer: Chamfer | None = None,
        contrast: Contrast | None = None,
    ) -> None:
        super().__init__()
        self.draw_mask: Callable[..., Any] = MASKS[mask_type]
        self.num_masked = num_masked(encoder.group.num_groups, mask_ratio)
        self.encoder, self.decoder = encoder, decoder
        self.teachers, self.chamfer, self.contrast = dict(teachers or {}), chamfer or Chamfer(), contrast
        for name in (*self.teachers, *(("cls",) if contrast else ())):
            if name not in encoder.queries:
                raise InputError(
                    f"there is a loss for the query '{name}', but {type(encoder).__name__} has no such query (it has "
                    f"{', '.join(encoder.queries.counts)}); give model.queries.{name}=1, or switch the loss off"
                )
        for name, teacher in self.teachers.items():
            self.add_module(f"{name}_proj", _projection(encoder.embed_dim, teacher.dim))
            if teacher.learn_temperature:
                # The logarithm of what similarities are multiplied by, as in CLIP.
                self.register_parameter(f"{name}_scale", nn.Parameter(torch.tensor(-math.log(teacher.temperature))))
                self.may_lack += (f"{name}_scale", f"{name}_bias")
                if "bias" in teacher.takes:
                    self.register_parameter(f"{name}_bias", nn.Parameter(torch.tensor(BIAS)))
        self.contrast_head = make_contrast_head(encoder.embed_dim, contrast.dim) if contrast else None

    def forward(
        self,
        points: Tensor,
        targets: Mapping[str, Tensor] | None = None,
        *,
        labels: Tensor | None = None,
        split: Split | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses.

        Args:
            points: (B, N, 3).
            targets: what the frozen teachers say, by name: (B, D), or (B, R, D) and, if not all rows are there, under
                `<name>_mask` which ones are, (B, R) bool.
            labels: (B,) int64, for the class-wise contrastive loss alone.
            split: which patches are hidden; None draws it.
            generator: for that draw, on the device of points.

        Returns:
            Weighted scalar terms: `chamfer`, one by the name of each teacher, `self`; their sum is the loss.
        """
        # Drawn here and not in a method: a compiled network is cut once, where the mask is drawn.
        patches, centers = self.encoder.group(points)
        split = self.draw_split(centers, generator) if split is None else split
        queries, terms = self._look(patches, centers, split)
        return {**terms, **self.forward_queries(queries, targets or {}, labels)}

    def forward_parts(
        self,
        points: Tensor,
        *,
        split: Split | None = None,
        generator: torch.Generator | None = None,
        is_query_only: bool = False,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The part of `forward` that looks at each sample by itself.

        Args:
            points: (B, N, 3).
            split: as in `forward`.
            generator: as in `forward`.
            is_query_only: the terms are not wanted; what is drawn for the queries is the same.

        Returns:
            queries (B, Q, C), and the weighted terms that are means over the samples.
        """
        patches, centers = self.encoder.group(points)
        split = self.draw_split(centers, generator) if split is None else split
        return self._look(patches, centers, split, is_query_only=is_query_only)

    def _look(
        self, patches: Tensor, centers: Tensor, split: Split, *, is_query_only: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        queries, tokens = self.encoder(patches, centers, split)
        if is_query_only:
            return queries, {}
        rebuilt = self.decoder(tokens, centers, split)
        return queries, self.forward_rebuilt(rebuilt, take_groups(patches, split.masked))

    @outside_compiler  # which knows no generators
    def draw_split(self, centers: Tensor, generator: torch.Generator | None = None) -> Split:
        """Which patches to hide: (B, G, 3) -> numbers of groups."""
        return self.draw_mask(centers, self.num_masked, generator)

    def forward_loss(
        self,
        queries: Tensor,
        rebuilt: Tensor,
        hidden: Tensor,
        *,
        targets: Mapping[str, Tensor],
        labels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Losses from queries (B, Q, C), rebuilt and hidden (B, M, K, 3); the rest as in `forward`."""
        return {**self.forward_rebuilt(rebuilt, hidden), **self.forward_queries(queries, targets, labels)}

    def forward_rebuilt(self, rebuilt: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """(B, M, K, 3) twice -> the term `chamfer`."""
        # Coordinates and distances stay in float32: squared distances of patches vanish in half precision.
        with torch.autocast(rebuilt.device.type, enabled=False):
            return {"chamfer": self.chamfer(at_least_float32(rebuilt), hidden)}

    def forward_queries(
        self, queries: Tensor, targets: Mapping[str, Tensor], labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Queries (B, Q, C) -> the terms of the teachers and `self`, which may compare samples."""
        with torch.autocast(queries.device.type, enabled=False):
            queries = at_least_float32(queries)
            terms = self.distil(queries, targets)
            if self.contrast is not None and self.contrast_head is not None and labels is not None:
                embedding = self.contrast_head(self.encoder.queries.pick(queries, "cls"))
                terms["self"] = self.contrast(embedding, labels)
        return terms

    def distil(self, queries: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weighted term of each teacher that says something: queries (B, Q, C), targets as in `forward`."""
        return {
            name: self.teachers[name](student, targets[name], targets.get(name + MASK), self.learnt(name))
            for name, student in self.project(queries).items()
            if name in targets
        }

    def learnt(self, name: str) -> dict[str, Tensor]:
        """The temperature of a teacher's loss, and its bias, where they are learnt."""
        scale, bias = getattr(self, f"{name}_scale", None), getattr(self, f"{name}_bias", None)
        found = {} if scale is None else {"temperature": (-scale.clamp(max=MAX_SCALE)).exp()}
        return found if bias is None else {**found, "bias": bias}

    def project(self, queries: Tensor) -> dict[str, Tensor]:
        """Queries (B, Q, C) -> by teacher, its queries in its space: (B, D), or (B, q, D) of several."""
        picked = {name: self.encoder.queries.pick(queries, name) for name in self.teachers}
        return {name: getattr(self, f"{name}_proj")(query) for name, query in picked.items()}

    @torch.no_grad()
    def reconstruct(self, points: Tensor, split: Split | None = None) -> tuple[Tensor, Tensor, Split, Tensor]:
        """Reconstruct for a picture: (B, N, 3) -> patches, centers, split and rebuilt (B, M, K, 3)."""
        patches, centers = self.encoder.group(points)
        split = self.draw_split(centers) if split is None else split
        _, tokens = self.encoder(patches, centers, split)
        return patches, centers, split, self.decoder(tokens, centers, split)


def _projection(dim: int, feature_dim: int) -> nn.Linear:
    linear = nn.Linear(dim, feature_dim)
    nn.init.normal_(linear.weight, mean=0.02, std=0.01)  # parity: the published mean is 0.02, not 0
    nn.init.zeros_(linear.bias)
    return linear


def at_least_float32(x: Tensor) -> Tensor:
    """x in its own precision, or in float32 if that has more digits."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
