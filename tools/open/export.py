"""Open encoders of plain torch operations alone, for ONNX and torch.export."""

import torch
from torch import Tensor, nn

from pointrecon.models.open.encoder import OpenEncoder
from pointrecon.models.open.patches import NEAR_CENTRE, BallPatches, NearestPatches
from pointrecon.models.open.recipes import AXES
from pointrecon.models.open.reconpp import OpenReConPP
from pointrecon.utils.errors import InputError

MANY = 1e7  # above every index, each of which float32 holds exactly


class OpenEmbedder(nn.Module):
    """Clouds with colours to embeddings; farthest point sampling is unrolled.

    Args:
        network: In evaluation mode. Its recipe's draws of points are not part of this: give as many as it asks for.
    """

    channels = 6
    output_names = ("embedding",)  # in the text teacher's space
    has_text = False

    def __init__(self, network: OpenEncoder | OpenReConPP) -> None:
        super().__init__()
        if isinstance(network, OpenReConPP) and network.encoder.is_causal:
            raise InputError("the causal variant of ReCon++ cannot be exported: the order of its chain is no operator")
        self.network = network
        self.radius = network.patches.radius if isinstance(network.patches, BallPatches) else 0.0
        self.is_off_centre = isinstance(network.patches, NearestPatches) or getattr(
            network.patches, "skip_origin", False
        )
        self.num_groups, self.group_size = network.patches.num_groups, network.patches.group_size
        self.axes = AXES[network.recipe.axes].argmax(1).tolist()

    def forward(self, points: Tensor) -> tuple[Tensor]:
        """(B, N, 6), coordinates in any units with +y up and colours in 0..1 -> (B, E)."""
        places = points[..., :3]
        places = places - places.mean(dim=1, keepdim=True)
        places = places / places.square().sum(-1).amax(dim=1).sqrt().view(-1, 1, 1)
        places = torch.stack([places[..., axis] for axis in self.axes], dim=-1)
        points = torch.cat([places, points[..., 3:]], dim=-1)
        is_ball = isinstance(self.network.patches, BallPatches)
        centers = _farthest(places, self.num_groups, is_off_centre=self.is_off_centre)
        squared = (centers.unsqueeze(2) - places.unsqueeze(1)).square().sum(dim=-1)
        if is_ball:
            far = torch.full_like(squared, MANY)
            order = torch.arange(places.shape[1], device=places.device, dtype=squared.dtype).expand_as(squared)
            index = torch.where(squared <= self.radius**2, order, far)
            index = index.topk(self.group_size, dim=-1, largest=False, sorted=True).values
            index = torch.where(index < MANY, index, index[..., :1]).long()
        else:
            index = squared.topk(self.group_size, dim=-1, largest=False).indices
        rows = index.flatten(1).unsqueeze(-1).expand(-1, -1, 6)
        patches = points.gather(1, rows).unflatten(1, (self.num_groups, self.group_size))
        return (self.network.from_patches(patches, centers),)


def _farthest(points: Tensor, count: int, *, is_off_centre: bool) -> Tensor:
    """`ops.fps` and `fps_off_centre` of standard operators: (B, N, 3) -> (B, count, 3)."""
    picked = [points[:, :1]]
    if is_off_centre:
        points = torch.where(points.square().sum(-1, keepdim=True) <= NEAR_CENTRE, points[:, :1], points)
    nearest = (points - picked[0]).square().sum(dim=-1)
    for _ in range(count - 1):
        row = nearest.argmax(dim=1).view(-1, 1, 1).expand(-1, 1, 3)
        picked.append(points.gather(1, row))
        nearest = torch.minimum(nearest, (points - picked[-1]).square().sum(dim=-1))
    return torch.cat(picked, dim=1)
