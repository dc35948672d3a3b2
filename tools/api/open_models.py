"""Open-vocabulary encoders of others (Uni3D, OpenShape-PointBERT, ULIP-2) with the methods of `ShapeModel`.

Shape legend: B shapes, N points, n points after the encoder's recipe, G patches, H heads, C channels, E shared space.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pointrecon.attention import Attention
from pointrecon.datasets.folder.up_axis import guess_up, rotation_of
from pointrecon.model import Classified, Embeddings, ShapeModel
from pointrecon.models.open.build import OpenInfo
from pointrecon.models.open.encoder import OpenEncoder, OpenFeatures
from pointrecon.models.open.recipes import AXES
from pointrecon.models.open.reconpp import OpenReConPP
from pointrecon.models.reconpp.network import ReConPP
from pointrecon.open_shapes import read_clouds
from pointrecon.shapes import NoShapes, Shapes, find_up, split_files
from pointrecon.tools.checkpoints.checkpoint import LoadReport
from pointrecon.tools.checkpoints.pretrained import PretrainedInfo
from pointrecon.utils.errors import InputError, check_choice
from pointrecon.words import UNKNOWN_TEACHER, class_features

TINY = 1e-12
FILES_AT_ONCE = 256  # files with colours are held with all their points
RECONPP_SIZES = {384: "S", 768: "B", 1024: "L", 1408: "G"}
RECONPP_POINTS = {True: 1024, False: 10_000}  # of the causal variant and of the other one
RECONPP_TEACHER, RECONPP_WIDTH = ("ViT-bigG-14", "laion2b_s39b_b160k"), 1280
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}


class OpenModel(ShapeModel):
    """An open-vocabulary encoder for use. Make one with `load_model`.

    Its embeddings lie in the space of its text teacher, so they are searched with words and with shapes alike.

    Args:
        network: In evaluation mode.
        about: What is known of it.
        path: Its file.
        precision: `fp32`, or `bf16` for the transformer on devices that have it.
        info: What loading it said; None: it is made of `about`.
    """

    network: Any

    def __init__(
        self,
        network: OpenEncoder | OpenReConPP,
        about: OpenInfo,
        path: str | Path,
        precision: str = "fp32",
        info: PretrainedInfo | None = None,
    ) -> None:
        check_choice("precision", precision, PRECISIONS)
        self.network, self.encoder, self.about, self.precision = network, network, about, precision
        self.num_points, self.embed_dim = network.recipe.num_points, network.embed_dim
        teacher: dict[str, Any] = {"type": UNKNOWN_TEACHER}
        if about.text_teacher is not None:
            model, pretrained = about.text_teacher
            teacher = {"type": "OpenClipTeacher", "options": {"model": model, "pretrained": pretrained}}
        teacher["templates"] = "ulip"
        config = {"data": {"num_points": self.num_points}, "teachers": {"image": teacher, "text": teacher}}
        if info is not None:
            self.info = dataclasses.replace(info, config={**info.config, **config})
            return
        report = LoadReport(str(path), len(network.state_dict()), [], list(about.unused), about.name)
        self.info = PretrainedInfo(Path(path), f"published {about.name}", config, about.guessed, report)

    def __repr__(self) -> str:
        return (
            f"OpenModel({self.about.name}, '{self.info.path}', {self.num_points} points, space {self.network.out_dim})"
        )

    @property
    def has_text(self) -> bool:
        """True: that is what they are for."""
        return True

    @property
    def has_image(self) -> bool:
        """Whether the network is known whose pictures lie in the same space as its texts."""
        return self.about.text_teacher is not None

    def embed(
        self, shapes: Shapes, colors: Any = None, *, up: str = "y", batch_size: int = 8, jobs: int = 1
    ) -> Embeddings:
        """Embeds shapes in the text teacher's space, each as the encoder was trained to see them.

        Args:
            shapes: As for `ShapeModel.embed`; points of arrays stay in their order.
            colors: For arrays: (N, 3) or (B, N, 3) RGB, integers in 0..255 or floats in 0..1, or a list of these. None:
                those of the files, and the encoder's own filling where there are none.
            up: As for `ShapeModel.embed`.
            batch_size: As for `ShapeModel.embed`.
            jobs: As for `ShapeModel.embed`.

        Returns:
            `embeddings` (B, E) float32, not normalised.

        Raises:
            InputError: There is nothing that can be read, or colours do not fit.
        """
        return self.embed_all(shapes, colors, up=up, batch_size=batch_size, jobs=jobs)[0]

    def embed_all(
        self, shapes: Shapes, colors: Any = None, *, up: str = "y", batch_size: int = 8, jobs: int = 1
    ) -> tuple[Embeddings, np.ndarray | None]:
        """`embed`, and the same of unit length."""
        parts = split_files(shapes, FILES_AT_ONCE) if colors is None else [shapes]
        up = find_up(parts, num_points=self.num_points, jobs=jobs) if up == "auto" and len(parts) > 1 else up
        ids: list[str] = []
        skipped: dict[str, str] = {}
        embedded = [torch.empty(0, self.network.out_dim)]
        for part in parts:
            try:
                names, inputs, why = self.prepare(part, colors, up=up, jobs=jobs)
            except NoShapes as error:
                skipped |= error.skipped
                continue
            ids += names
            skipped |= why
            rows_of = torch.empty(len(inputs), self.network.out_dim)
            for rows, features in self._run(inputs, batch_size):
                rows_of[rows] = features.embedding.float().cpu()
            embedded.append(rows_of)
        if not ids:
            raise NoShapes(skipped)
        embeddings = torch.cat(embedded)
        return Embeddings(ids, embeddings.numpy(), skipped), F.normalize(embeddings, dim=-1).numpy()

    def embed_spaces(
        self, shapes: Shapes, *, up: str = "y", batch_size: int = 8, jobs: int = 1
    ) -> tuple[Embeddings, dict[str, np.ndarray]]:
        """`embed`, and the same of unit length by the names of the spaces: texts and pictures share one."""
        embedded, unit = self.embed_all(shapes, up=up, batch_size=batch_size, jobs=jobs)
        assert unit is not None
        return embedded, {"text": unit, **({"image": unit} if self.has_image else {})}

    def classify(
        self,
        shapes: Shapes,
        labels: Sequence[str] | None = None,
        colors: Any = None,
        *,
        label_features: np.ndarray | None = None,
        up: str = "y",
        batch_size: int = 8,
        jobs: int = 1,
    ) -> Classified:
        """Gives each shape the label whose words are nearest (zero-shot recognition).

        Args:
            shapes: As for `embed`.
            labels: Names to choose from.
            colors: As for `embed`.
            label_features: (L, E) of the labels in the text teacher's space, such as stored ones; None: the teacher
                reads them in 64 templates, for which open_clip and its weights must be there.
            up: As for `embed`.
            batch_size: As for `embed`.
            jobs: As for `embed`.

        Raises:
            InputError: No label, one given twice, or features of another shape.
        """
        if labels is None:
            raise InputError(f"'{self.info.path}' has no trained classification head; give labels to choose from")
        if label_features is None:
            classes = class_features(list(labels), self.info)
        else:
            classes = np.asarray(label_features, np.float32)
            classes = classes / np.linalg.norm(classes, axis=-1, keepdims=True).clip(1e-12)
        if classes.shape != (len(labels), self.network.out_dim):
            raise InputError(
                f"the labels' features are of shape {classes.shape}, but {len(labels)} labels of "
                f"{self.about.name} need ({len(labels)}, {self.network.out_dim})"
            )
        embedded, in_words = self.embed_all(shapes, colors, up=up, batch_size=batch_size, jobs=jobs)
        assert in_words is not None
        scores = in_words @ classes.T
        return Classified(
            embedded.ids, [labels[row] for row in scores.argmax(1)], scores, list(labels), embedded.skipped
        )

    def features(self, shapes: Shapes, colors: Any = None, *, up: str = "y") -> dict[str, Any]:
        """What a language model reads of shapes, layout `pointrecon features 1`.

        Returns:
            `ids`; `positions` (B, G, 3) of the patches in the encoder's axes; `patches` (B, G, C); `queries` (B, 1, C);
            `layout`; `skipped`. The names and their order are fixed; a change gets another number.
        """
        ids, inputs, skipped = self.prepare(shapes, colors, up=up)
        parts: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        for rows, found in self._run(inputs, 8):
            for place, row in enumerate(rows):
                parts[row] = (found.centers[place], found.tokens[place], found.queries[place])
        stacked = [torch.stack([parts[row][k].float().cpu() for row in range(len(ids))]).numpy() for k in range(3)]
        arrays = dict(zip(("positions", "patches", "queries"), stacked, strict=True))
        return {"layout": "pointrecon features 1", "ids": ids, **arrays, "skipped": skipped}

    @torch.inference_mode()
    def attention(  # type: ignore[override]
        self, shapes: Shapes, colors: Any = None, *, up: str = "y", jobs: int = 1
    ) -> Attention:
        """What the class token attends to over the patches, and how far patches look, by layer.

        Args:
            shapes: As for `embed`.
            colors: As for `embed`.
            up: As for `embed`.
            jobs: As for `embed`.

        Returns:
            NumPy arrays; see `Attention` for their shapes and units. Shares of the class token of Uni3D, OpenShape and
            ULIP-2 sum to less than 1: the rest is on itself.

        Raises:
            InputError: As for `embed`.
        """
        ids, inputs, skipped = self.prepare(shapes, colors, up=up, jobs=jobs)
        parts = [self._attend(torch.from_numpy(points[None]).to(self.device)) for points in inputs]
        arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return Attention(ids, list(self.network.query_names), skipped=skipped, **arrays)

    def _attend(self, points: Tensor) -> dict[str, np.ndarray]:
        layers: dict[str, list[Tensor]] = {"queries": [], "patches": [], "distance": [], "spread": []}
        for centers, query, among in self.network.attention(points):
            far = torch.cdist(centers, centers)[:, None]
            among = among / among.sum(-1, keepdim=True).clamp(min=TINY)
            share = query / query.sum(-1, keepdim=True).clamp(min=TINY)
            layers["queries"].append(query)
            layers["patches"].append(among.mean(1))
            layers["distance"].append((among * far).sum(-1).mean(-1))
            layers["spread"].append(((share @ far) * share).sum(-1))
        arrays = {name: torch.stack(rows, dim=1).float().cpu().numpy() for name, rows in layers.items()}
        turn_back = AXES[self.network.recipe.axes].astype(np.float32)
        return {"positions": centers.float().cpu().numpy() @ turn_back, **arrays}

    def export(self, path: str | Path, *, num_points: int | None = None) -> None:
        """Writes the encoder as a file that runs without this project.

        Args:
            path: Ends with .onnx or .pt2. Its input `points` (B, N, 6) is xyz in any units, +y up, beside rgb in 0..1.
            num_points: N of the example; None: as many as it was trained on. Batch and points stay free.

        Raises:
            InputError: The suffix is another, or a package is missing.
        """
        from pointrecon.tools.predict.portable import export_embedder

        export_embedder(self.network, path, num_points=num_points or self.num_points)

    def prepare(
        self, shapes: Shapes, colors: Any = None, *, up: str = "y", seed: int = 0, jobs: int = 1
    ) -> tuple[list[str], list[np.ndarray], dict[str, str]]:
        """Shapes as the encoder's recipe wants them.

        Returns:
            Their names, an input (n, 6) float32 each, and why what was skipped was.
        """
        names, clouds, skipped = read_clouds(shapes, colors, num_points=self.num_points, seed=seed, jobs=jobs)
        if up == "auto" and clouds:
            up = guess_up([cloud.points for cloud in clouds], [cloud.suffix for cloud in clouds]).axis
        turn = rotation_of(up).T
        least = max(self.network.patches.num_groups, self.network.patches.group_size)
        ids, inputs = [], []
        for name, cloud in zip(names, clouds, strict=True):
            try:
                made = self.network.recipe.prepare(cloud.points @ turn, cloud.colors, seed=seed, least=least)
            except InputError as error:
                if not cloud.suffix:
                    raise InputError(f"shape '{name}': {error}") from error
                skipped[name] = str(error)
                continue
            ids.append(name)
            inputs.append(made)
        if not ids:
            raise NoShapes(skipped)
        return ids, inputs, skipped

    @torch.inference_mode()
    def _run(self, inputs: Sequence[np.ndarray], batch_size: int) -> Iterator[tuple[list[int], OpenFeatures]]:
        """Batches of clouds of one size, with their rows."""
        dtype = PRECISIONS[self.precision]
        cast = torch.autocast(self.device.type, dtype) if dtype is not None else contextlib.nullcontext()
        by_size: dict[int, list[int]] = {}
        for row, cloud in enumerate(inputs):
            by_size.setdefault(len(cloud), []).append(row)
        for rows in by_size.values():
            for start in range(0, len(rows), batch_size):
                some = rows[start : start + batch_size]
                points = torch.from_numpy(np.stack([inputs[row] for row in some])).to(self.device)
                with cast:
                    yield some, self.network.encode(points)


def open_reconpp(network: ReConPP, info: PretrainedInfo, precision: str = "fp32") -> OpenModel:
    """A published ReCon++ network, as one of the open-vocabulary encoders.

    Args:
        network: With projections of images and texts into one space.
        info: What loading it said.
        precision: As for `OpenModel`.
    """
    wrapped = OpenReConPP(network, RECONPP_POINTS[network.encoder.is_causal]).eval()
    size = RECONPP_SIZES.get(wrapped.embed_dim, "own size")
    teacher = RECONPP_TEACHER if wrapped.out_dim == RECONPP_WIDTH else None
    about = OpenInfo("ReCon++", f"ReCon++ {size}", teacher, info.guessed, tuple(info.report.ignored), None)
    return OpenModel(wrapped, about, info.path, precision, info)
