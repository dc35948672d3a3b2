"""The classifier: the encoder without stop-gradient, all patches visible, and a head.

Shape legend: B batch, N points, C channels.
"""

from torch import Tensor, nn

from pointrecon.models.blocks.layers import init_truncated_normal
from pointrecon.models.encoder import PatchEncoder
from pointrecon.models.heads import classifier_feature, make_head


class PointClassifier(nn.Module):
    """Encoder and classification head (ReCon, section 4.1).

    Args:
        encoder: its stop_grad should be off.
        num_classes: number of logits.
        head: `linear` or `mlp3`.
        dropout: rate in the mlp3 head.
        freeze_backbone: train the head alone. Frozen means frozen: no parameter of the encoder moves, no running
            statistic moves and no drop-path acts, whatever `train()` is told.
        is_leaky: freeze as the published code did: queries can learn, running statistics move and drop-path acts.
    """

    def __init__(
        self,
        encoder: PatchEncoder,
        num_classes: int,
        head: str = "mlp3",
        dropout: float = 0.5,
        freeze_backbone: bool = False,
        is_leaky: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = make_head(head, self.feature_dim(encoder), num_classes, dropout)
        self.head.apply(init_truncated_normal)
        # differs from the published code: its frozen backbone still moved batch-norm statistics, drop-path and cls.
        self.is_frozen = freeze_backbone and not is_leaky
        self.encoder.requires_grad_(not freeze_backbone)
        if is_leaky:
            self.encoder.query_tokens.requires_grad_(True)
            self.encoder.query_positions.requires_grad_(True)
        self.train()

    def train(self, mode: bool = True) -> "PointClassifier":
        """As in nn.Module, but a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.is_frozen:
            self.encoder.eval()
        return self

    def feature_dim(self, encoder: PatchEncoder) -> int:
        """How wide what the head reads is: a vector for each name of queries, and one of the patches."""
        return (len(encoder.queries.counts) + 1) * encoder.embed_dim

    def forward_feature(self, points: Tensor) -> Tensor:
        """(B, N, 3) -> (B, `feature_dim`), what the head reads."""
        queries, tokens = self.encoder.embed(points)
        return classifier_feature(self.encoder.queries.pool(queries), tokens)

    def forward(self, points: Tensor) -> Tensor:
        """(B, N, 3) -> logits (B, num_classes)."""
        return self.head(self.forward_feature(points))
