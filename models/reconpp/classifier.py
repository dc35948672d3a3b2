"""The classifier of ReCon++, which rebuilds what it sees while it learns.

Shape legend: B batch, N points, G groups, C channels.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pointrecon.models.classifier import PointClassifier
from pointrecon.models.heads import classifier_feature
from pointrecon.models.losses.chamfer import Chamfer
from pointrecon.models.reconpp.decoder import ReConPPDecoder
from pointrecon.models.reconpp.encoder import ReConPPEncoder
from pointrecon.models.reconpp.order import CausalSplit, triangle
from pointrecon.utils.errors import InputError


class ReConPPClassifier(PointClassifier):
    """The encoder with a class query of its own, a head, and in training the reconstruction of all patches.

    Args:
        encoder: its stop_grad should be off; published: the causal one.
        num_classes: number of logits.
        head: `linear` or `mlp3`.
        dropout: rate in the mlp3 head.
        freeze_backbone: train the head and the class query alone, as in `PointClassifier`.
        is_leaky: without effect; the published code froze nothing.
        decoder: what rebuilds the patches; None: nothing is rebuilt.
        rebuild_weight: of that loss; published 3.

    Raises:
        InputError: a reconstruction without the causal variant.

    Attributes:
        may_lack: the class query, which pretraining has no use for, so that its files have none.
        head_prefixes: what learns at the rate of the head.
    """

    encoder: ReConPPEncoder
    may_lack = ("cls_token",)
    head_prefixes = ("head.", "cls_token")

    def __init__(
        self,
        encoder: ReConPPEncoder,
        num_classes: int,
        head: str = "mlp3",
        dropout: float = 0.5,
        freeze_backbone: bool = False,
        is_leaky: bool = False,
        *,
        decoder: ReConPPDecoder | None = None,
        rebuild_weight: float = 3.0,
    ) -> None:
        super().__init__(encoder, num_classes, head, dropout, freeze_backbone)
        if decoder is not None and not encoder.is_causal:
            raise InputError(
                "classifier.rebuild_weight is not 0, but a network with random masks rebuilds hidden patches, and a "
                "classifier hides none; set classifier.rebuild_weight=0 or model.mask_type=causal"
            )
        self.decoder, self.chamfer = decoder, Chamfer("both", weight=rebuild_weight)
        self.cls_token = nn.Parameter(torch.empty(1, 1, encoder.embed_dim))
        nn.init.trunc_normal_(self.cls_token, std=0.02)

    def feature_dim(self, encoder: ReConPPEncoder) -> int:  # type: ignore[override]
        """How wide what the head reads is: the class query, a vector for each name of queries, one of the patches."""
        return (len(encoder.queries.counts) + 2) * encoder.embed_dim

    def forward_feature(self, points: Tensor) -> Tensor:
        """(B, N, 3) -> (B, `feature_dim`), what the head reads."""
        return self._encode(*self.encoder.group(points))[0]

    def forward(self, points: Tensor) -> Tensor | tuple[Tensor, dict[str, Tensor]]:  # type: ignore[override]
        """Logits (B, num_classes) of (B, N, 3); in training, where something is rebuilt, with the further loss."""
        patches, centers = self.encoder.group(points)
        feature, tokens = self._encode(patches, centers)
        logits = self.head(feature)
        if self.decoder is None or not self.training:
            return logits
        return logits, self.forward_rebuilt(patches, centers, tokens)

    def forward_rebuilt(self, patches: Tensor, centers: Tensor, tokens: Tensor) -> dict[str, Tensor]:
        """(B, G, K, ch), (B, G, 3), (B, G, C) -> the weighted terms of the reconstruction of all patches."""
        assert self.decoder is not None
        split = CausalSplit(triangle(patches.shape[1], patches.device), len(patches))
        rebuilt = self.decoder(tokens, centers, split)
        with torch.autocast(rebuilt.device.type, enabled=False):
            return self.chamfer.terms(rebuilt.to(patches.dtype), patches)

    def _encode(self, patches: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
        """The feature (B, `feature_dim`), and tokens (B, G, C)."""
        queries, tokens = self.encoder(patches, centers, extra=self.cls_token)
        return self.pool(queries, tokens), tokens

    def pool(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """[class query, maximum of each name's queries, maximum over patches]: (B, Q + 1, C), (B, G, C) -> (B, 4C)."""
        total = self.encoder.queries.total
        pooled = self.encoder.queries.pool(queries[:, :total])
        return classifier_feature(torch.cat([queries[:, total:], pooled], dim=1), tokens)

    def refusal(self, state: Mapping[str, Tensor]) -> str | None:
        """Why weights of another variant are of no use here, None if they are of this one."""
        return variant_refusal(self.encoder.is_causal, state)


def variant_refusal(is_causal: bool, state: Mapping[str, Tensor]) -> str | None:
    """Why weights in our names are of no use to an encoder of a variant, None if they are of that one."""
    shown = {"encoder.start": True, "encoder.pos_embed.0.weight": False}
    is_other = next((causal != is_causal for key, causal in shown.items() if key in state), False)
    if not is_other:
        return None
    if is_causal:
        return (
            "it was trained with random masks (mask_type=random) and this network is causal: its learnt positions have "
            "no place here, and it has no start of a chain, so that nothing would mean what it did; give a file of the "
            "causal variant, or set model.mask_type=random (with classifier.rebuild_weight=0)"
        )
    return (
        "it is of the causal variant and this network has random masks: it has no learnt positions; give a file that "
        "was trained with random masks, or set model.mask_type=causal"
    )
