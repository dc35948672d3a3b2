"""A loaded network with everything around it that a user needs: from files or arrays to embeddings, labels, pictures.

Shape legend: B shapes, N points, G patches, K points per patch, M masked patches, Q queries, C channels, D feature
width.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointrecon import hub
from pointrecon.attention import Attention, attend, query_names_of
from pointrecon.models.heads import check_finite, probe_feature
from pointrecon.shapes import Clouds, Shapes, read_parts, to_clouds
from pointrecon.tools.checkpoints.pretrained import PretrainedInfo
from pointrecon.utils.errors import InputError
from pointrecon.words import class_features

if TYPE_CHECKING:
    from pointrecon.search import Hit


@dataclass
class Embeddings:
    """What `ShapeModel.embed` gives.

    Attributes:
        ids: Path or place in the input, n of them.
        embeddings: (n, 2C) float32: the maximum over the queries beside the maximum plus the mean over the patches,
            what the linear probes of the paper read.
        skipped: id -> why a file could not be read.
    """

    ids: list[str]
    embeddings: np.ndarray
    skipped: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_finite(torch.from_numpy(self.embeddings), "embeddings")


@dataclass
class Classified:
    """What `ShapeModel.classify` gives.

    Attributes:
        ids: As in `Embeddings`.
        labels: The best label of each.
        scores: (n, L) float32 cosine similarities, or probabilities of a trained head.
        names: The L labels that were compared.
        skipped: As in `Embeddings`.
    """

    ids: list[str]
    labels: list[str]
    scores: np.ndarray
    names: list[str]
    skipped: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_finite(torch.from_numpy(self.scores), "scores")


class ShapeModel:
    """A pretrained network for use. Make one with `load_model`.

    Args:
        network: A pretraining network, a classifier or a bare encoder, in evaluation mode.
        info: What is known of it.

    Attributes:
        num_points: How many points of a shape it looks at.
        embed_dim: C.
    """

    def __init__(self, network: nn.Module, info: PretrainedInfo) -> None:
        self.network, self.info = network, info
        self.encoder: Any = getattr(network, "encoder", network)
        self.num_points = int(info.config["data"]["num_points"])
        self.embed_dim = int(self.encoder.embed_dim)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def __repr__(self) -> str:
        return f"ShapeModel({self.info.kind}, '{self.info.path}', {self.num_points} points, width {self.embed_dim})"

    def embed(self, shapes: Shapes, *, up: str = "y", batch_size: int = 32, jobs: int = 1) -> Embeddings:
        """Embeds shapes.

        Args:
            shapes: An array or tensor (N, 3) or (B, N, 3) in any units, a path of a mesh or point cloud, a folder, a
                trimesh object, or a list of such.
            up: The axis that is up: y, z, -y, -z, x, -x, or auto to guess one for all shapes together.
            batch_size: Shapes in a forward pass.
            jobs: Processes that read files, 120 s each at most; 0: this one, without a limit (no child process is
                started, which saves a second or two where files are trusted).

        Raises:
            InputError: There is nothing that can be read.
        """
        return self.embed_all(shapes, up=up, batch_size=batch_size, jobs=jobs)[0]

    @property
    def has_text(self) -> bool:
        """Whether shapes can be compared with words."""
        return getattr(self.network, "text_proj", None) is not None

    @property
    def has_image(self) -> bool:
        """Whether shapes can be compared with pictures."""
        return getattr(self.network, "image_proj", None) is not None

    @property
    def class_names(self) -> list[str]:
        """What a trained classification head knows; empty without one."""
        return list(self.info.class_names)

    def embed_all(
        self, shapes: Shapes, *, up: str = "y", batch_size: int = 32, jobs: int = 1
    ) -> tuple[Embeddings, np.ndarray | None]:
        """`embed`, and the same shapes in the text teacher's space (n, D) of unit length; None without that teacher."""
        embedded, spaces = self._embed_in(("text",), shapes, up, batch_size, jobs)
        return embedded, spaces.get("text")

    def embed_spaces(
        self, shapes: Shapes, *, up: str = "y", batch_size: int = 32, jobs: int = 1
    ) -> tuple[Embeddings, dict[str, np.ndarray]]:
        """`embed`, and the same shapes in each teacher's space, by its name: (n, D) float32 of unit length."""
        if not self.has_image:
            embedded, text = self.embed_all(shapes, up=up, batch_size=batch_size, jobs=jobs)
            return embedded, {} if text is None else {"text": text}
        return self._embed_in(("text", "image"), shapes, up, batch_size, jobs)

    def _embed_in(
        self, names: Sequence[str], shapes: Shapes, up: str, batch_size: int, jobs: int
    ) -> tuple[Embeddings, dict[str, np.ndarray]]:
        names = [name for name in names if getattr(self.network, f"{name}_proj", None) is not None]
        ids: list[str] = []
        skipped: dict[str, str] = {}
        parts: list[Tensor] = []
        found: dict[str, list[Tensor]] = {name: [] for name in names}
        for clouds in read_parts(shapes, num_points=self.num_points, up=up, jobs=jobs):
            ids += clouds.ids
            skipped |= clouds.skipped
            for queries, tokens in self._encode(clouds, batch_size):
                parts.append(probe_feature(queries, tokens).cpu())
                for name in names:
                    found[name].append(self._project(queries, name).cpu())
        spaces = {name: torch.cat(rows).numpy() for name, rows in found.items()}
        return Embeddings(ids, torch.cat(parts).numpy(), skipped), spaces

    @torch.inference_mode()
    def _project(self, queries: Tensor, name: str) -> Tensor:
        """(B, Q, C) -> (B, D) of unit length; of several queries of a name the mean direction."""
        network: Any = self.network
        rows = F.normalize(network.project(queries)[name].float(), dim=-1)
        return F.normalize(rows.mean(dim=1), dim=-1) if rows.dim() == 3 else rows

    def classify(
        self,
        shapes: Shapes,
        labels: Sequence[str] | None = None,
        *,
        up: str = "y",
        batch_size: int = 32,
        jobs: int = 1,
    ) -> Classified:
        """Gives each shape a label: one of those given whose words are nearest, or a class of a trained head.

        Args:
            shapes: As for `embed`.
            labels: Names to choose from, such as ["chair", "floor lamp"] (zero-shot recognition); None: the classes
                that the network was fine-tuned on.
            up: As for `embed`.
            batch_size: As for `embed`.
            jobs: As for `embed`.

        Returns:
            Labels and scores (n, L): cosine similarities to words in -1..1, or the head's probabilities.

        Raises:
            InputError: No label, one given twice or unknown, a network without a text teacher, or no labels and a
                network without a trained head.
        """
        if labels is None:
            return self._classify_by_head(shapes, up, batch_size, jobs)
        if not self.has_text:
            hint = "; leave the labels out to choose among the classes of its head" if self.class_names else ""
            raise InputError(f"'{self.info.path}' has no text projection, so it knows no words{hint}")
        classes = class_features(list(labels), self.info)
        embedded, in_words = self.embed_all(shapes, up=up, batch_size=batch_size, jobs=jobs)
        assert in_words is not None
        if in_words.shape[1] != classes.shape[1]:
            raise InputError(
                f"'{self.info.path}' learnt from a text teacher of {in_words.shape[1]} values, but words are read by "
                f"one of {classes.shape[1]}; name its teacher in the checkpoint's config (teachers.text)"
            )
        scores = in_words @ classes.T
        best = [labels[row] for row in scores.argmax(1)]
        return Classified(embedded.ids, best, scores, list(labels), embedded.skipped)

    @torch.inference_mode()
    def _classify_by_head(self, shapes: Shapes, up: str, batch_size: int, jobs: int) -> Classified:
        names = self.class_names
        if not names:
            raise InputError(
                f"'{self.info.path}' ({self.info.kind}) has no trained classification head; give labels to choose "
                "from, or a fine-tuned checkpoint"
            )
        clouds = self._clouds(shapes, up, jobs)
        batches = torch.from_numpy(clouds.points).split(batch_size)
        rows = [self.network(points.to(self.device)).float().softmax(dim=1).cpu() for points in batches]
        scores = torch.cat(rows).numpy()
        best = [names[row] for row in scores.argmax(1)]
        return Classified(clouds.ids, best, scores, names, clouds.skipped)

    def attention(self, shapes: Shapes, *, up: str = "y", batch_size: int = 16, jobs: int = 1) -> Attention:
        """What each query attends to over the patches, and how far patches look, by layer.

        Args:
            shapes: As for `embed`.
            up: As for `embed`.
            batch_size: As for `embed`.
            jobs: As for `embed`.

        Returns:
            NumPy arrays; see `Attention` for their shapes and units.

        Raises:
            InputError: A network without attention, or there is nothing that can be read.
        """
        clouds = self._clouds(shapes, up, jobs)
        parts = [
            attend(self.encoder, points.to(self.device)) for points in torch.from_numpy(clouds.points).split(batch_size)
        ]
        arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return Attention(clouds.ids, query_names_of(self.encoder), skipped=clouds.skipped, **arrays)

    def search(self, query: Any, index: Any, *, top: int = 10, up: str = "y", weight: float = 0.5) -> "list[Hit]":
        """The nearest shapes of an index.

        Args:
            query: Words; a path of a shape or a picture (.png, .jpg, .webp); an array (N, 3), a tensor or a trimesh
                object; or a mixture, a dict with some of `words`, `shape` and `picture`.
            index: A `ShapeIndex`, or the path of one.
            top: How many.
            up: The axis that is up in the shape.
            weight: Share of the words in a mixture.

        Raises:
            InputError: As `ShapeIndex.search`.
        """
        from pointrecon.search import ShapeIndex, name_query

        index = index if isinstance(index, ShapeIndex) else ShapeIndex.load(index)
        return index.search(self, **name_query(query), top=top, up=up, weight=weight)

    @torch.no_grad()
    def reconstruct(self, shapes: Shapes, *, mask_ratio: float = 0.6, up: str = "y", seed: int = 0) -> dict[str, Any]:
        """Hides patches and rebuilds them.

        Args:
            shapes: As for `embed`.
            mask_ratio: Share of the patches that is hidden, in 0..1, both ends excluded.
            up: As for `embed`.
            seed: Of the mask.

        Returns:
            ids; `points` (B, N, 3); `visible` (B, (G - M) * K, 3) and `rebuilt` (B, M * K, 3) points in the unit
            sphere; `chamfer` (B,), the squared Chamfer distance of the hidden patches, as in training; `skipped`.

        Raises:
            InputError: The checkpoint has no decoder, or the ratio hides nothing or everything.
        """
        from pointrecon.extensions import ops
        from pointrecon.models.patches.masking import num_masked, take_groups
        from pointrecon.utils.seed import generator

        network: Any = self.network
        if not hasattr(network, "decoder"):
            raise InputError(f"'{self.info.path}' has no decoder; give a checkpoint of pretraining")
        clouds = self._clouds(shapes, up, 1)
        points = torch.from_numpy(clouds.points).to(self.device)
        patches, centers = self.encoder.group(points)
        count = num_masked(self.encoder.group.num_groups, mask_ratio)
        split = network.draw_mask(centers, count, generator(self.device, seed))
        patches, centers, split, rebuilt = network.reconstruct(points, split)
        hidden, middle = take_groups(patches, split.masked), take_groups(centers, split.masked)
        seen = take_groups(patches, split.visible) + take_groups(centers, split.visible).unsqueeze(2)
        distances = [float(ops.chamfer_distance(one, two)) for one, two in zip(rebuilt, hidden, strict=True)]
        arrays = {
            "points": points,
            "visible": seen.flatten(1, 2),
            "rebuilt": (rebuilt + middle.unsqueeze(2)).flatten(1, 2),
        }
        return {
            "ids": clouds.ids,
            "chamfer": np.array(distances, np.float32),
            "skipped": clouds.skipped,
            **{name: array.cpu().numpy() for name, array in arrays.items()},
        }

    def save_pretrained(self, folder: str | Path, *, licence: str = "other") -> Path:
        """Writes model.safetensors, config.json and README.md, as model hubs keep them; `load_model` takes the folder.

        Args:
            folder: Made if it is not there; a README.md in it is kept.
            licence: Of the weights, by the hub's short names, such as mit.

        Raises:
            InputError: The folder cannot be written.
        """
        return hub.save_folder(self, folder, licence=licence)

    def push_to_hub(self, repo_id: str, *, private: bool = False, licence: str = "other") -> str:
        """Uploads what `save_pretrained` writes; returns the address of the commit.

        Args:
            repo_id: OWNER/NAME; made if it is not there.
            private: Of a new one, whether others can see it.
            licence: Of the weights.

        Raises:
            InputError: huggingface_hub is not installed, or the hub refuses.
        """
        with tempfile.TemporaryDirectory() as folder:
            hub.save_folder(self, folder, licence=licence, place=f"{hub.HUB}{repo_id}")
            return hub.push_folder(folder, repo_id, private=private)

    def _clouds(self, shapes: Shapes, up: str, jobs: int) -> Clouds:
        return to_clouds(shapes, num_points=self.num_points, up=up, jobs=jobs)

    @torch.inference_mode()
    def _encode(self, clouds: Clouds, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(clouds.points), batch_size):
            points = torch.from_numpy(clouds.points[start : start + batch_size]).to(self.device)
            queries, tokens = self.encoder.embed(points)
            yield queries.float(), tokens.float()
