"""Networks as files that run without this project: ONNX with standard operators alone, or torch.export.

Everything is inside, patches included: farthest point sampling is unrolled, neighbours are a top-k of distances.
Shape legend: B shapes, N points, G patches, K points per patch, C channels, D feature width.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointrecon.datasets.transforms import normalize_unit_sphere
from pointrecon.models.heads import probe_feature
from pointrecon.models.open.encoder import OpenEncoder
from pointrecon.tools.open.export import OpenEmbedder
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write

SUFFIXES = (".onnx", ".pt2")
OPSET = 18


class ExportedEmbedder(nn.Module):
    """Clouds to embeddings, of plain torch operations alone.

    Args:
        network: A pretraining network or a bare encoder, in evaluation mode.
    """

    channels = 3

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.encoder: Any = getattr(network, "encoder", network)
        self.num_groups: int = self.encoder.group.num_groups
        self.group_size: int = self.encoder.group.group_size
        self.has_text = getattr(network, "text_proj", None) is not None

    def forward(self, points: Tensor) -> tuple[Tensor, ...]:
        """(B, N, 3) in any units, +y up -> embeddings (B, 2C); with a text teacher also (B, D) of unit length."""
        points = normalize_unit_sphere(points)
        patches, centers = make_patches(points, self.num_groups, self.group_size)
        queries, tokens = self.encoder(patches, centers)
        embedding = probe_feature(queries, tokens)
        if not self.has_text:
            return (embedding,)
        network: Any = self.network
        return embedding, F.normalize(network.project(queries)["text"], dim=-1)


def make_patches(points: Tensor, num_groups: int, group_size: int) -> tuple[Tensor, Tensor]:
    """`ops.patchify` of standard operators: (B, N, 3) -> patches (B, G, K, 3), centres (B, G, 3)."""
    batch = points.shape[0]
    centers = [points[:, :1]]
    nearest = (points - centers[0]).square().sum(dim=-1)
    for _ in range(num_groups - 1):
        row = nearest.argmax(dim=1).view(batch, 1, 1).expand(-1, 1, 3)
        centers.append(points.gather(1, row))
        nearest = torch.minimum(nearest, (points - centers[-1]).square().sum(dim=-1))
    middle = torch.cat(centers, dim=1)
    distances = (middle.unsqueeze(2) - points.unsqueeze(1)).square().sum(dim=-1)
    index = distances.topk(group_size, dim=-1, largest=False, sorted=True).indices
    rows = index.flatten(1).unsqueeze(-1).expand(-1, -1, 3)
    patches = points.gather(1, rows).view(batch, num_groups, group_size, 3)
    return patches - middle.unsqueeze(2), middle


def export_embedder(network: nn.Module, path: str | Path, *, num_points: int) -> None:
    """Writes the embedder.

    Args:
        network: As for `ExportedEmbedder`, or an open-vocabulary encoder, whose points carry colours; it is moved to
            the CPU.
        path: Ends with .onnx (inputs `points`, outputs `embedding` and `text`) or .pt2 (torch.export).
        num_points: N of the example; batch and number of points stay free.

    Raises:
        InputError: The suffix is another, or the package onnx is not installed.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise InputError(f"--out is '{path}', but must end with one of: {' '.join(SUFFIXES)}")
    network = network.cpu().eval()
    embedder = OpenEmbedder(network) if isinstance(network, OpenEncoder) else ExportedEmbedder(network)
    example = torch.rand(2, num_points, embedder.channels, generator=torch.Generator().manual_seed(0))
    fewest = max(embedder.num_groups, embedder.group_size)
    shapes = {"points": {0: torch.export.Dim("batch", max=4096), 1: torch.export.Dim("num_points", min=fewest)}}
    with torch.no_grad():
        program = torch.export.export(embedder, (example,), dynamic_shapes=shapes, strict=True)
        if path.suffix == ".pt2":
            with atomic_write(path) as temporary, temporary.open("wb") as file:
                torch.export.save(program, file)
            return
        _check_onnx()
        names = ["embedding", "text"] if embedder.has_text else ["embedding"]
        onnx = torch.onnx.export(
            program, (), dynamo=True, opset_version=OPSET, input_names=["points"], output_names=names, verbose=False
        )
    assert onnx is not None
    with atomic_write(path) as temporary:
        onnx.save(str(temporary), external_data=False)


def _check_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"ONNX files need {error.name}; run: pip install 'pointrecon[export]', or write .pt2"
        ) from error
