"""Pretraining of ReCon++.

Shape legend: B batch, N points, G groups, K points per group, ch channels of a point, M rebuilt groups, C channels,
Q queries of all names, q queries of one name, D width of a teacher's features, R targets of a sample.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointrecon.models import MODELS
from pointrecon.models.losses.chamfer import Chamfer
from pointrecon.models.patches.masking import MASKS, Split, take_groups
from pointrecon.models.recon import ReCon, at_least_float32
from pointrecon.models.reconpp.classifier import ReConPPClassifier, variant_refusal
from pointrecon.models.reconpp.decoder import ReConPPDecoder
from pointrecon.models.reconpp.encoder import CAUSAL, ReConPPEncoder
from pointrecon.models.reconpp.order import CausalSplit, causal_mask, num_hidden
from pointrecon.utils.errors import InputError, check_choice

STEPS = ("all", "reconstruct", "contrast")


@MODELS.register()
class ReConPP(ReCon):
    """Reconstruction and distillation of many views and texts a shape (Qi et al., ShapeLLM, ECCV 2024).

    Args:
        encoder: of either variant.
        decoder: of the same variant, as wide as the encoder.
        mask_ratio: part of the patches that is hidden, or in the causal variant that only themselves see.
        mask_type: one of `mask_types`.
        teachers: what is learnt from each teacher, by the name of its queries.
        chamfer: the reconstruction loss.
        contrast: None; there is no cls query.
        step: `reconstruct`: without teachers, `contrast`: without reconstruction, or `all`.

    Raises:
        InputError: a teacher without queries, a class-wise contrast, or a step of distillation without a teacher.
    """

    encoder_class, decoder_class, classifier_class = ReConPPEncoder, ReConPPDecoder, ReConPPClassifier
    mask_types = (*MASKS, CAUSAL)
    may_lack: tuple[str, ...] = ("norm.",)
    encoder: ReConPPEncoder
    decoder: Any

    def __init__(
        self,
        encoder: ReConPPEncoder,
        decoder: ReConPPDecoder,
        *,
        mask_ratio: float = 0.7,
        mask_type: str = "random",
        step: str = "all",
        **options: Any,
    ) -> None:
        if options.get("contrast") is not None:
            raise InputError(
                "loss.contrast.weight is not 0, but the class-wise contrast reads the cls query, which ReCon++ does "
                "not have in pretraining; set loss.contrast.weight=0 or model.type=ReCon"
            )
        is_causal = mask_type == CAUSAL
        options.setdefault("chamfer", Chamfer("both"))
        super().__init__(
            encoder, decoder, mask_ratio=mask_ratio, mask_type="random" if is_causal else mask_type, **options
        )
        check_choice("model.step", step, STEPS)
        self.step = step
        # parity: published files have this norm, and nothing calls it.
        self.norm = nn.LayerNorm(encoder.embed_dim).requires_grad_(False)
        if is_causal:
            self.draw_mask, self.num_masked = causal_mask, num_hidden(encoder.group.num_groups, mask_ratio)
        if step == "contrast" and not self.teachers:
            raise InputError("model.step is contrast, but there is no teacher; give one, or set model.step=reconstruct")

    def _look(
        self, patches: Tensor, centers: Tensor, split: Split | CausalSplit, *, is_query_only: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As in `ReCon`, of patches with or without colours; of `reconstruct` there are no queries."""
        queries, tokens = self.encoder(patches, centers, split, is_local=self.step == "reconstruct")
        if self.step == "contrast" or is_query_only:
            return queries, {}
        rebuilt = self.decoder(tokens, centers, split)
        return queries, self.forward_rebuilt(rebuilt, hidden_patches(patches, split))

    def forward_rebuilt(self, rebuilt: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """(B, M, K, ch) twice -> the terms `chamfer` and, of networks with colours, `color`."""
        with torch.autocast(rebuilt.device.type, enabled=False):
            return self.chamfer.terms(at_least_float32(rebuilt), hidden)

    def forward_queries(
        self, queries: Tensor, targets: Mapping[str, Tensor], labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        """(B, Q, C) and the targets -> a term for each teacher; without queries none. Labels are not read."""
        return super().forward_queries(queries, targets) if queries.shape[1] else {}

    def refusal(self, state: Mapping[str, Tensor]) -> str | None:
        """Why weights of another variant are of no use here, None if they are of this one."""
        return variant_refusal(self.encoder.is_causal, state)

    @torch.no_grad()
    def reconstruct(self, points: Tensor, split: Any = None) -> tuple[Tensor, Tensor, Any, Tensor]:
        """Reconstruct for a picture: (B, N, 3 or 6) -> patches, centers, split and rebuilt (B, M, K, 3)."""
        patches, centers = self.encoder.group(points)
        split = self.draw_split(centers) if split is None else split
        _, tokens = self.encoder(patches, centers, split, is_local=True)
        return patches[..., :3], centers, split, self.decoder(tokens, centers, split)[..., :3]

    def embed(self, points: Tensor, ratio: float = 0.5) -> Tensor:
        """Features for zero-shot recognition, in evaluation mode: mean image token + ratio * mean text token.

        Args:
            points: (B, N, 3), or (B, N, 6) with colours, in the unit sphere.
            ratio: of the texts (published: 0.5, and 0.3 on ScanObjectNN).

        Returns:
            (B, D), not of unit length; the scores are its products with unit class features.

        Raises:
            InputError: the network has no image or no text projection, or they differ in width.
        """
        dims = {name: self.teachers[name].dim for name in ("image", "text") if name in self.teachers}
        if len(dims) < 2 or len(set(dims.values())) > 1:
            raise InputError(
                f"the network has the projections {dims or 'none'}, but zero-shot features add those of images and "
                "texts in one space; give one that was trained with such teachers, or use project(queries)"
            )
        queries, _ = self.encoder.embed(points)
        means = {
            name: F.normalize(x if x.dim() == 3 else x.unsqueeze(1), dim=-1).mean(dim=1)
            for name, x in self.project(queries).items()
        }
        return means["image"] + ratio * means["text"]


def hidden_patches(patches: Tensor, split: Split | CausalSplit) -> Tensor:
    """What is to be rebuilt: (B, G, K, ch) -> (B, M, K, ch)."""
    return patches if isinstance(split, CausalSplit) else take_groups(patches, split.masked)
