"""The pretraining network.

Shape legend: B batch, N points, G groups, K points a group, M masked groups, T visible tokens, C channels,
Di, Dt width of the image and text teachers' features.
"""

import torch
from torch import Tensor, nn

from pointrecon.extensions import ops
from pointrecon.models import MODELS
from pointrecon.models.decoder import MaskedDecoder
from pointrecon.models.encoder import QUERIES, PointEncoder
from pointrecon.models.heads import make_contrast_head
from pointrecon.models.losses import DISTILLATIONS, class_contrastive_loss
from pointrecon.models.patches.masking import MASKS, Split, num_masked, split_groups, take_groups
from pointrecon.utils.errors import check_choice

CHAMFER_NORMS = {"l1": 1, "l2": 2}


@MODELS.register()
class ReCon(nn.Module):
    """Contrast guided by reconstruction (Qi et al., ICML 2023).

    Args:
        encoder: its stop_grad should be on.
        decoder_depth: blocks of the reconstruction decoder.
        decoder_num_heads: its attention heads.
        decoder_drop_path: its drop-path rate.
        mask_ratio: int(mask_ratio * G) patches are masked.
        mask_type: `random` or `block`.
        image_dim: Di; None leaves the image teacher out.
        text_dim: Dt; None leaves the text teacher out.
        loss: the section `loss` of the configuration.
        decoder_mlp_ratio: hidden width of the decoder's MLPs over their width.
    """

    def __init__(
        self,
        encoder: PointEncoder,
        decoder_depth: int,
        decoder_num_heads: int,
        decoder_drop_path: float,
        mask_ratio: float,
        mask_type: str,
        image_dim: int | None,
        text_dim: int | None,
        loss: dict,
        decoder_mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        check_choice("model.mask_type", mask_type, MASKS)
        check_choice("loss.chamfer.type", loss["chamfer"]["type"], CHAMFER_NORMS)
        for name in ("image", "text"):
            check_choice(f"loss.{name}.type", loss[name]["type"], DISTILLATIONS)
        self.loss = loss
        self.draw_mask = MASKS[mask_type]
        self.num_masked = num_masked(encoder.group.num_groups, mask_ratio)
        self.encoder = encoder
        dim, group_size = encoder.embed_dim, encoder.group.group_size
        self.decoder = MaskedDecoder(
            dim, decoder_depth, decoder_num_heads, group_size, decoder_mlp_ratio, decoder_drop_path
        )
        self.image_proj = _projection(dim, image_dim)
        self.text_proj = _projection(dim, text_dim)
        self.contrast_head = make_contrast_head(dim, loss["contrast"]["dim"]) if loss["contrast"]["weight"] else None

    def forward(
        self,
        points: Tensor,
        image_feature: Tensor | None = None,
        text_feature: Tensor | None = None,
        labels: Tensor | None = None,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses.

        Args:
            points: (B, N, 3).
            image_feature: (B, Di) of the frozen image teacher, as it gives them.
            text_feature: (B, Dt) of the frozen text teacher.
            labels: (B,) int64, for the class-wise contrastive loss alone.
            mask: (B, G) bool, True = masked; None draws one.
            generator: for that draw, on the device of points.

        Returns:
            Weighted scalar terms among `chamfer`, `image`, `text`, `self`; their sum is the loss.
        """
        patches, centers = self.encoder.group(points)
        split = self._draw_split(centers, generator) if mask is None else split_groups(mask)
        queries, tokens = self.encoder(patches, centers, split)
        rebuilt = self.decoder(tokens, centers, split)
        target = take_groups(patches, split.masked)
        return self.forward_loss(queries, rebuilt, target, image_feature, text_feature, labels)

    @torch.compiler.disable  # the compiler knows no generators
    def _draw_split(self, centers: Tensor, generator: torch.Generator | None) -> Split:
        return split_groups(self.draw_mask(centers, self.num_masked, generator), self.num_masked)

    def forward_loss(
        self,
        queries: Tensor,
        rebuilt: Tensor,
        target: Tensor,
        image_feature: Tensor | None,
        text_feature: Tensor | None,
        labels: Tensor | None,
    ) -> dict[str, Tensor]:
        """Losses from queries (B, 3, C), rebuilt and target (B, M, K, 3); the rest as in `forward`."""
        chamfer = self.loss["chamfer"]
        # Coordinates and distances stay in float32: squared distances of patches vanish in half precision.
        with torch.autocast(rebuilt.device.type, enabled=False):
            distance = ops.chamfer_distance(
                _at_least_float32(rebuilt).flatten(0, 1), target.flatten(0, 1), CHAMFER_NORMS[chamfer["type"]]
            )
            terms = {"chamfer": chamfer["weight"] * distance}
            image, text = self.project(_at_least_float32(queries))
            for name, student, teacher in (("image", image, image_feature), ("text", text, text_feature)):
                if student is not None and teacher is not None:
                    terms[name] = self._distill(self.loss[name], student, teacher)
            if self.contrast_head is not None and labels is not None:
                contrast = self.loss["contrast"]
                embedding = self.contrast_head(_at_least_float32(queries[:, QUERIES.index("cls")]))
                terms["self"] = contrast["weight"] * class_contrastive_loss(embedding, labels, contrast["temperature"])
        return terms

    def project(self, queries: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Queries (B, 3, C) -> image (B, Di) and text (B, Dt) in the teachers' spaces; None without that teacher."""
        image = None if self.image_proj is None else self.image_proj(queries[:, QUERIES.index("image")])
        text = None if self.text_proj is None else self.text_proj(queries[:, QUERIES.index("text")])
        return image, text

    @torch.no_grad()
    def reconstruct(self, points: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Reconstruct for a picture: (B, N, 3) -> patches, centers, mask and rebuilt (B, M, K, 3)."""
        patches, centers = self.encoder.group(points)
        if mask is None:
            mask = self.draw_mask(centers, self.num_masked)
        _, tokens = self.encoder(patches, centers, mask)
        return patches, centers, mask, self.decoder(tokens, centers, mask)

    @staticmethod
    def _distill(options: dict, student: Tensor, teacher: Tensor) -> Tensor:
        teacher = _at_least_float32(teacher)
        if options["normalize"]:
            student, teacher = (nn.functional.normalize(x, dim=-1) for x in (student, teacher))
        return options["weight"] * DISTILLATIONS[options["type"]](student, teacher, options["temperature"])


def _projection(dim: int, feature_dim: int | None) -> nn.Linear | None:
    if feature_dim is None:
        return None
    linear = nn.Linear(dim, feature_dim)
    nn.init.normal_(linear.weight, mean=0.02, std=0.01)  # parity: the published mean is 0.02, not 0
    nn.init.zeros_(linear.bias)
    return linear


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
