"""Layers of PointNet++ under the names of `pointnet2_ops.pointnet2_modules`; parameters have the original's names too.

Shape legend: B batch, N points, S centres (npoint), C channels, n unknown and m known points.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from . import pointnet2_utils
from .pointnet2_utils import GroupAll, QueryAndGroup

__all__ = ["PointnetFPModule", "PointnetSAModule", "PointnetSAModuleMSG", "build_shared_mlp"]


def build_shared_mlp(mlp_spec: Sequence[int], bn: bool = True) -> nn.Sequential:
    """A perceptron that each point of (B, C, S, K) goes through by itself.

    Args:
        mlp_spec: widths, that of the input first.
        bn: normalise between the linear map, which then has no bias, and ReLU.
    """
    layers: list[nn.Module] = []
    for width_in, width_out in zip(mlp_spec[:-1], mlp_spec[1:], strict=True):
        layers.append(nn.Conv2d(width_in, width_out, kernel_size=1, bias=not bn))
        layers += [nn.BatchNorm2d(width_out)] if bn else []
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class _PointnetSAModuleBase(nn.Module):
    """Set abstraction: what the layers below share, and what programs derive their own from."""

    def __init__(self) -> None:
        super().__init__()
        self.npoint: int | None = None
        self.groupers: nn.ModuleList | None = None
        self.mlps: nn.ModuleList | None = None

    def forward(self, xyz: Tensor, features: Tensor | None) -> tuple[Tensor | None, Tensor]:
        """Sample centres and describe the points around them.

        Args:
            xyz: (B, N, 3).
            features: (B, C, N).

        Returns:
            centres (B, S, 3), None for one group of all points; features (B, the scales' last widths together, S).

        Raises:
            NotImplementedError: a class that is derived from this one has set no groupers and mlps.
        """
        if self.groupers is None or self.mlps is None:
            raise NotImplementedError(f"{type(self).__name__} has no groupers and mlps")
        new_xyz = None
        if self.npoint is not None:
            index = pointnet2_utils.furthest_point_sample(xyz, self.npoint)
            new_xyz = pointnet2_utils.gather_operation(xyz.transpose(1, 2), index).transpose(1, 2).contiguous()
        grouped = [
            mlp(grouper(xyz, new_xyz, features)).amax(dim=-1)
            for grouper, mlp in zip(self.groupers, self.mlps, strict=True)
        ]
        return new_xyz, torch.cat(grouped, dim=1)


class PointnetSAModuleMSG(_PointnetSAModuleBase):
    """Set abstraction at several scales (PointNet++, section 3.3).

    Args:
        npoint: number of centres; None: one group of all points.
        radii: radius of each scale.
        nsamples: points a centre of each scale.
        mlps: widths of each scale's perceptron, without the coordinates, which are added here.
        bn: with batch normalisation.
        use_xyz: coordinates are features too.

    Raises:
        ValueError: radii, nsamples and mlps differ in length.
    """

    def __init__(
        self,
        npoint: int | None,
        radii: Sequence[float | None],
        nsamples: Sequence[int | None],
        mlps: Sequence[Sequence[int]],
        bn: bool = True,
        use_xyz: bool = True,
    ) -> None:
        super().__init__()
        if not len(radii) == len(nsamples) == len(mlps):
            raise ValueError(
                f"radii, nsamples and mlps must be equally long, got {len(radii)}, {len(nsamples)} and {len(mlps)}"
            )
        self.npoint = npoint
        self.groupers, self.mlps = nn.ModuleList(), nn.ModuleList()
        for radius, nsample, widths in zip(radii, nsamples, mlps, strict=True):
            self.groupers.append(GroupAll(use_xyz) if npoint is None else QueryAndGroup(radius, nsample, use_xyz))
            # differs from the published code: the caller's list stays as it is.
            self.mlps.append(build_shared_mlp([widths[0] + 3 * use_xyz, *widths[1:]], bn))


class PointnetSAModule(PointnetSAModuleMSG):
    """Set abstraction at one scale (PointNet++, section 3.2).

    Args:
        mlp: widths of the perceptron, without the coordinates.
        npoint: number of centres; None: one group of all points.
        radius: of the ball.
        nsample: points a centre.
        bn: with batch normalisation.
        use_xyz: coordinates are features too.
    """

    def __init__(
        self,
        mlp: Sequence[int],
        npoint: int | None = None,
        radius: float | None = None,
        nsample: int | None = None,
        bn: bool = True,
        use_xyz: bool = True,
    ) -> None:
        super().__init__(npoint, [radius], [nsample], [mlp], bn=bn, use_xyz=use_xyz)


class PointnetFPModule(nn.Module):
    """Feature propagation (PointNet++, section 3.4).

    Args:
        mlp: widths of the perceptron.
        bn: with batch normalisation.
    """

    def __init__(self, mlp: Sequence[int], bn: bool = True) -> None:
        super().__init__()
        self.mlp = build_shared_mlp(mlp, bn=bn)

    def forward(
        self, unknown: Tensor, known: Tensor | None, unknow_feats: Tensor | None, known_feats: Tensor
    ) -> Tensor:
        """Carry features from known points to unknown ones.

        Args:
            unknown: (B, n, 3).
            known: (B, m, 3); None: known_feats describe the whole cloud.
            unknow_feats: (B, C1, n), put behind the features that arrive (the name is the original's).
            known_feats: (B, C2, m); (B, C2, 1) without known.

        Returns:
            (B, the last width, n).
        """
        if known is None:
            features = known_feats.expand(-1, -1, unknown.shape[1])
        else:
            distance, index = pointnet2_utils.three_nn(unknown, known)
            weight = 1 / (distance + 1e-8)  # parity: by distance, not by its square as in the paper
            features = pointnet2_utils.three_interpolate(known_feats, index, weight / weight.sum(dim=2, keepdim=True))
        if unknow_feats is not None:
            features = torch.cat([features, unknow_feats], dim=1)
        return self.mlp(features.unsqueeze(-1)).squeeze(-1)
