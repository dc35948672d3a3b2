"""Networks as files that run without this project: ONNX with standard operators alone, or torch.export.

Everything is inside, patches included: farthest point sampling is unrolled, neighbours are a top-k of distances.
Shape legend: B shapes, N points, G patches, K points per patch, C channels, D feature width.
"""

import copy
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.torch_version import TorchVersion

from pointrecon.datasets.transforms import normalize_unit_sphere
from pointrecon.models.heads import probe_feature
from pointrecon.models.open.encoder import OpenEncoder
from pointrecon.models.open.reconpp import OpenReConPP
from pointrecon.tools.open.export import OpenEmbedder
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write

SUFFIXES = (".onnx", ".pt2")
OPSET = 18
ONNX_FROM = "2.7"  # torch 2.6 stops at the free number of points
BATCH = 8  # shapes of a comparison that are run at once


class PlainGroup(nn.Module):
    """`PointGroup` of standard operators."""

    def __init__(self, num_groups: int, group_size: int) -> None:
        super().__init__()
        self.num_groups, self.group_size = num_groups, group_size

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, 3) -> patches (B, G, K, 3), centres (B, G, 3)."""
        return make_patches(points, self.num_groups, self.group_size)


class Exported(nn.Module):
    """What exported networks of this project have in common.

    Args:
        network: It is copied, to the CPU.

    Attributes:
        channels: Of a point.
        output_names: Of what `forward` gives.
    """

    channels = 3
    output_names: tuple[str, ...]

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = copy.deepcopy(network).cpu().eval()
        self.encoder: Any = getattr(self.network, "encoder", self.network)
        self.num_groups: int = self.encoder.group.num_groups
        self.group_size: int = self.encoder.group.group_size
        self.encoder.group = PlainGroup(self.num_groups, self.group_size)


class ExportedEmbedder(Exported):
    """Clouds to embeddings, of plain torch operations alone.

    Args:
        network: A pretraining network, a classifier or a bare encoder.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.has_text = getattr(network, "text_proj", None) is not None
        self.output_names = ("embedding", "text") if self.has_text else ("embedding",)

    def forward(self, points: Tensor) -> tuple[Tensor, ...]:
        """(B, N, 3) in any units, +y up -> embeddings (B, 2C); with a text teacher also (B, D) of unit length."""
        queries, tokens = self.encoder.embed(normalize_unit_sphere(points))
        embedding = probe_feature(queries, tokens)
        if not self.has_text:
            return (embedding,)
        return embedding, F.normalize(self.network.project(queries)["text"], dim=-1)


class ExportedClassifier(Exported):
    """Clouds to probabilities, of plain torch operations alone.

    Args:
        network: A classifier.
    """

    output_names = ("probabilities",)

    def forward(self, points: Tensor) -> tuple[Tensor, ...]:
        """(B, N, 3) in any units, +y up -> probabilities (B, classes)."""
        return (self.network(normalize_unit_sphere(points)).softmax(dim=-1),)


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
    """Writes the embedder; arguments and errors as of `export_network`."""
    if isinstance(network, (OpenEncoder, OpenReConPP)):
        export_network(OpenEmbedder(network.cpu().eval()), path, num_points=num_points)
    else:
        export_network(ExportedEmbedder(network), path, num_points=num_points)


def export_network(network: Any, path: str | Path, *, num_points: int, class_names: Sequence[str] = ()) -> None:
    """Writes a network.

    Args:
        network: An `Exported`, or what has the same attributes.
        path: Ends with .onnx (input `points`, outputs `output_names`) or .pt2 (torch.export).
        num_points: N of the example; batch and number of points stay free.
        class_names: What the outputs of a classifier stand for: they are kept in the file, as JSON, in ONNX's metadata
            or the extra file of a .pt2 called `class_names`.

    Raises:
        InputError: The suffix is another, the package onnx is not installed, or torch cannot write such a file.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise InputError(f"the file to write is '{path}', but must end with one of: {' '.join(SUFFIXES)}")
    if path.suffix == ".onnx":
        _check_onnx()
    example = torch.rand(2, num_points, network.channels, generator=torch.Generator().manual_seed(0))
    fewest = max(network.num_groups, network.group_size)
    shapes = {"points": {0: torch.export.Dim("batch", max=4096), 1: torch.export.Dim("num_points", min=fewest)}}
    about = {"class_names": json.dumps(list(class_names), ensure_ascii=False), "num_points": str(num_points)}
    with torch.no_grad():
        program = torch.export.export(network, (example,), dynamic_shapes=shapes, strict=True)
        if path.suffix == ".pt2":
            with atomic_write(path) as temporary, temporary.open("wb") as file:
                torch.export.save(program, file, extra_files=about)
            return
        names = list(getattr(network, "output_names", ("embedding",)))
        for library in ("onnxscript", "onnx_ir"):  # they tell of every node that they leave as it is
            logging.getLogger(library).setLevel(logging.WARNING)
        onnx = torch.onnx.export(
            program, (), dynamo=True, opset_version=OPSET, input_names=["points"], output_names=names, verbose=False
        )
    assert onnx is not None
    onnx.model.metadata_props.update(about)
    with atomic_write(path) as temporary:
        onnx.save(str(temporary), external_data=False)


@dataclass(frozen=True)
class Agreement:
    """How an exported file compares with its network on shapes.

    Attributes:
        difference: The largest between two values of the first output.
        decisions: Share of the shapes with the same class or, for embeddings, the same nearest other shape.
        rate: Shapes a second of the file, over those of the network, in batches of `BATCH` on as many threads.
    """

    difference: float
    decisions: float
    rate: float


@torch.inference_mode()
def compare_with(network: nn.Module, path: str | Path, *, num_points: int, count: int = 100) -> Agreement:
    """Runs an ONNX file and the network that it was made of, in turns, over shapes drawn at random.

    Args:
        network: A classifier if the file is one, otherwise any that embeds.
        path: The file.
        num_points: Of a shape.
        count: How many shapes.

    Raises:
        InputError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError("comparing needs onnxruntime; run: pip install 'pointrecon[export]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_outputs()[0].name
    random = torch.Generator().manual_seed(0)
    shapes = torch.randn(count, num_points, 3, generator=random)
    # Boxes, ellipsoids and what lies between, of all proportions.
    shapes = (
        shapes / shapes.abs().pow(4).sum(dim=-1, keepdim=True).pow(0.25) * torch.rand(count, 1, 3, generator=random)
    )
    network = network.cpu().eval()
    encoder: Any = getattr(network, "encoder", network)
    found, wanted, seconds = [], [], torch.zeros(2, -(-count // BATCH))
    for step, points in enumerate(shapes.split(BATCH)):
        start = time.perf_counter()
        found.append(torch.from_numpy(session.run([name], {"points": points.numpy()})[0]))
        middle = time.perf_counter()
        points = normalize_unit_sphere(points)
        is_head = name == "probabilities"
        wanted.append(network(points).softmax(dim=-1) if is_head else probe_feature(*encoder.embed(points)))
        seconds[:, step] = torch.tensor([middle - start, time.perf_counter() - middle])
    ours, theirs = torch.cat(wanted), torch.cat(found)
    same = _decide(ours, is_head) == _decide(theirs, is_head)
    ratio = (seconds[1] / seconds[0]).median()
    return Agreement(float((ours - theirs).abs().max()), float(same.float().mean()), float(ratio))


def _decide(rows: Tensor, is_head: bool) -> Tensor:
    """(n, D) -> (n,): the class, or the nearest other row."""
    return rows.argmax(dim=1) if is_head else torch.cdist(rows, rows).fill_diagonal_(torch.inf).argmin(dim=1)


def _check_onnx() -> None:
    if TorchVersion(torch.__version__) < ONNX_FROM:
        raise InputError(
            f"ONNX files need torch {ONNX_FROM} or later, and this is {torch.__version__}; "
            "write .pt2, or install another torch"
        )
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"ONNX files need {error.name}; run: pip install 'pointrecon[export]', or write .pt2"
        ) from error
