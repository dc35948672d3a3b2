"""Search by words, by a picture, by a shape, or by a mixture, over an index of embedded shapes.

Shape legend: n shapes, D feature width, C channels.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pointrecon.datasets.folder.up_axis import rotation_of
from pointrecon.model import ShapeModel
from pointrecon.shapes import FILES_AT_ONCE, Shapes, find_up, split_files
from pointrecon.utils.errors import InputError, check_choice
from pointrecon.utils.files.io import atomic_write, check_file
from pointrecon.utils.files.json_text import parse_json
from pointrecon.vectors import Vectors, find_nearest, has_faiss
from pointrecon.words import class_features, picture_feature

METHODS = ("auto", "exact", "faiss")
KIND = "pointrecon index 2"
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
SPACE_OF = {"words": "text", "picture": "image", "shape": "shape"}


@dataclass(frozen=True)
class Hit:
    """A shape that was found.

    Attributes:
        id: Its path, as the index has it.
        score: Cosine similarity, in -1..1; of a mixture the weighted mean over its parts, each in standard deviations
            from the mean over the index, so that no part counts more because its similarities differ more.
    """

    id: str
    score: float


class ShapeIndex:
    """Embeddings of many shapes.

    Args:
        ids: n paths.
        spaces: Their vectors: `shape`, and `text` and `image` where the network can be compared with words or pictures.
        network: Fingerprint of the network that made them.
    """

    def __init__(self, ids: Sequence[str], spaces: Mapping[str, Vectors], network: str) -> None:
        self.ids, self.spaces, self.network = list(ids), dict(spaces), network

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def build(
        cls, model: ShapeModel, shapes: Shapes, *, up: str = "y", batch_size: int = 32, jobs: int = 1
    ) -> "tuple[ShapeIndex, dict[str, str]]":
        """Embeds shapes, `FILES_AT_ONCE` files after the other, so that many take little memory.

        Args:
            model: What embeds them.
            shapes: As for `ShapeModel.embed`.
            up: As there; `auto`: of more files than are read at once, guessed from as many, evenly drawn.
            batch_size: As there.
            jobs: As there.

        Returns:
            The index, and why what was skipped was.

        Raises:
            InputError: There is nothing that can be read.
        """
        parts = split_files(shapes, FILES_AT_ONCE)
        if up != "auto":
            rotation_of(up)
        elif len(parts) > 1:
            up = find_up(parts, num_points=model.num_points, jobs=jobs)
        ids: list[str] = []
        skipped: dict[str, str] = {}
        rows_of: dict[str, list[Tensor]] = {}
        bases = {name: _basis_of(model.network, name) for name in ("text", "image")}
        for part in parts:
            try:
                embedded, features = model.embed_spaces(part, up=up, batch_size=batch_size, jobs=jobs)
            except InputError as error:
                if len(parts) == 1 or (part is parts[-1] and not ids):
                    raise
                skipped |= getattr(error, "skipped", {name: str(error) for name, _ in part.items})
                continue
            ids += embedded.ids
            skipped |= embedded.skipped
            for name, rows in {"shape": embedded.embeddings, **features}.items():
                rows_of.setdefault(name, []).append(Vectors.of(torch.from_numpy(rows), bases.get(name)).rows)
        spaces = {name: Vectors.of(torch.cat(rows)) for name, rows in rows_of.items()}
        for name, vectors in spaces.items():
            vectors.basis = bases.get(name)
        return cls(ids, spaces, fingerprint(model.network)), skipped

    def save(self, path: str | Path) -> None:
        """Writes a safetensors file, whole or not at all."""
        from safetensors.torch import save_file

        text = json.dumps(self.ids).encode()  # names of files need not be texts in UTF-8
        tensors = {"ids": torch.frombuffer(bytearray(text), dtype=torch.uint8)}
        for name, vectors in self.spaces.items():
            tensors |= vectors.to_tensors(name)
        metadata = {"kind": KIND, "network": self.network, "spaces": ",".join(self.spaces)}
        with atomic_write(path) as temporary:
            save_file(tensors, temporary, metadata)

    @classmethod
    def load(cls, path: str | Path) -> "ShapeIndex":
        """Opens what `save` has written; the vectors stay on the disk until they are compared.

        Raises:
            InputError: There is no such file, or it is no index.
        """
        from safetensors import SafetensorError, safe_open

        path = check_file(path, "index")
        try:
            with safe_open(str(path), framework="pt") as file:
                about = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if about.get("kind") != KIND:
                raise ValueError("it says to be something else")
            ids = parse_json(bytes(tensors["ids"].numpy()))
            spaces = {name: Vectors.from_tensors(name, tensors) for name in about["spaces"].split(",")}
            if not all(len(vectors) == len(ids) for vectors in spaces.values()) or "shape" not in spaces:
                raise ValueError("it has as many names as vectors of no kind")
            return cls([str(name) for name in ids], spaces, about["network"])
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise InputError(f"'{path}' is no index ({error}); make one with: pointrecon search --build") from error

    def search(
        self,
        model: ShapeModel,
        *,
        words: str | None = None,
        shape: Shapes = None,
        picture: Any = None,
        weight: float = 0.5,
        top: int = 10,
        up: str = "y",
        method: str = "auto",
    ) -> list[Hit]:
        """The nearest shapes.

        Args:
            model: The network that made the index.
            words: What to look for, such as "floor lamp".
            shape: A shape to look for, as for `ShapeModel.embed`.
            picture: A picture of what to look for: a file, or an array (H, W, 3) uint8.
            weight: Share of the words where they are not all that is given, in 0..1; a shape and a picture share the
                rest evenly.
            top: How many.
            up: The axis that is up in `shape`.
            method: See `vectors.find_nearest`.

        Raises:
            InputError: Nothing to look for, a network that knows no words or pictures, or one that did not make the
                index.
        """
        given = {"words": words, "shape": shape, "picture": picture}
        given = {name: value for name, value in given.items() if value is not None}
        self._check(model, list(given), weight, top, method)
        parts = []
        for name, value in given.items():
            vectors = self.spaces[SPACE_OF[name]]
            try:
                parts.append((vectors, vectors.query(_feature_of(name, value, model, up)), _share(name, given, weight)))
            except ValueError as error:
                if isinstance(error, InputError):
                    raise
                raise InputError(f"the {name} cannot be compared with this index: {error}") from error
        shift = 0.0
        if len(parts) > 1:
            spreads = [vectors.spread(query) for vectors, query, _ in parts]
            shift = sum(
                share * mean / deviation for (_, _, share), (mean, deviation) in zip(parts, spreads, strict=True)
            )
            parts = [(v, query, share / spread[1]) for (v, query, share), spread in zip(parts, spreads, strict=True)]
        scores, rows = find_nearest(parts, top, method=method)
        if not all(part.is_sound(rows) for part, _, _ in parts):
            raise InputError(
                "the index holds vectors that are not finite; make it anew with: pointrecon search --build"
            )
        return [Hit(self.ids[row], score - shift) for score, row in zip(scores.tolist(), rows.tolist(), strict=True)]

    def _check(self, model: ShapeModel, given: Sequence[str], weight: float, top: int, method: str) -> None:
        if not given:
            raise InputError("there is nothing to search for; give words, a picture, a shape, or several of these")
        if not 0 <= weight <= 1 or top < 1:
            raise InputError(f"weight is {weight} and top {top}, but must be in 0..1 and at least 1")
        check_choice("method", method, METHODS)
        if method == "faiss" and not has_faiss():
            raise InputError("method is 'faiss', but FAISS is not installed; run: pip install faiss-cpu")
        for name in given:
            if SPACE_OF[name] not in self.spaces:
                raise InputError(
                    f"this index cannot be searched by {name}: its network has no {SPACE_OF[name]} projection; it has "
                    f"{', '.join(self.spaces)}"
                )
        if self.network != fingerprint(model.network):
            raise InputError(
                f"this index was made by another network than '{model.info.path}'; give the one that made it, or make "
                "the index anew with: pointrecon search --build"
            )


def name_query(query: Any) -> dict[str, Any]:
    """What is looked for, by the name that `ShapeIndex.search` has for it.

    Args:
        query: As for `ShapeModel.search`.

    Raises:
        InputError: A dict with other names.
    """
    if isinstance(query, Mapping):
        for name in query:
            check_choice("a part of the query", name, SPACE_OF)
        return dict(query)
    if isinstance(query, (str, Path)):
        is_path = isinstance(query, Path) or (len(query) < 1000 and Path(query).expanduser().exists())
        if not is_path:
            return {"words": query}
        return {"picture" if Path(query).suffix.lower() in PICTURES else "shape": query}
    return {"shape": query}


def fingerprint(network: nn.Module) -> str:
    """Tells networks apart by the beginnings of their weights."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + str(tuple(tensor.shape)).encode())
        digest.update(tensor.flatten()[:64].double().cpu().numpy().tobytes())
    return digest.hexdigest()[:32]


def _share(name: str, given: Mapping[str, Any], weight: float) -> float:
    if "words" not in given or len(given) == 1:
        return 1 / len(given)
    return weight if name == "words" else (1 - weight) / (len(given) - 1)


def _feature_of(name: str, value: Any, model: ShapeModel, up: str) -> Tensor:
    if name == "words":
        return torch.from_numpy(class_features([value], model.info))[0]
    if name == "picture":
        return picture_feature(value, model.info)
    rows = torch.from_numpy(model.embed(value, up=up).embeddings)
    return nn.functional.normalize(rows, dim=-1).mean(dim=0)


def _basis_of(network: Any, name: str) -> Tensor | None:
    """(D, C + 1) float32 with orthonormal columns that span what a projection can give, where that is fewer than D."""
    linear = getattr(network, f"{name}_proj", None)
    if not isinstance(linear, nn.Linear) or linear.out_features <= linear.in_features + 1 or linear.bias is None:
        return None
    spanning = torch.cat([linear.weight, linear.bias[:, None]], dim=1).detach()
    return torch.linalg.qr(spanning.double().cpu()).Q.float()
