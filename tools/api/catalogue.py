"""Models by name: what ships with this project, and the published checkpoints with where to get them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pointrecon.utils.errors import InputError, closest

WEIGHTS = Path(__file__).resolve().parent / "weights"  # in an installed package
CHECKOUT_WEIGHTS = Path(__file__).resolve().parents[2] / "data" / "weights"
SUFFIXES = (".pth", ".pt", ".safetensors", ".ckpt", ".bin", ".tar")
RECON = "https://github.com/qizekun/ReCon"


@dataclass(frozen=True)
class ModelCard:
    """An entry of the catalogue.

    Attributes:
        name: For `load_model`.
        file: Its file's name.
        what: One sentence.
        source: The page to get it from; None: it ships with this project.
        terms: Its licence.
        sha256: Of the file; None: the publishers state none, and none was at hand to take it from.
    """

    name: str
    file: str
    what: str
    source: str | None
    terms: str
    sha256: str | None = None

    @property
    def is_here(self) -> bool:
        """Whether its file is where `load_model` looks."""
        return _find(self) is not None


MODELS = (
    ModelCard(
        "recon-base-pretrain",
        "recon_base_pretrain.pth",
        "ReCon base pretrained on ShapeNet-55 (ICML 2023)",
        RECON,
        "MIT",
    ),
)


def list_models() -> list[ModelCard]:
    """Every model that `load_model` knows by name."""
    return list(MODELS)


def find_weights_file(name: str | Path) -> Path:
    """The file of a model.

    Args:
        name: A path, or a name from `list_models`.

    Raises:
        InputError: There is no such file or name, its file has not been downloaded, or its hash is another.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    card = next((card for card in MODELS if card.name == str(name)), None)
    if card is None:
        if path.suffix in SUFFIXES or len(path.parts) > 1:
            raise InputError(f"'{name}' is not there; give a checkpoint, or a name from pointrecon.list_models()")
        names = [card.name for card in MODELS]
        match = closest(str(name), names)
        hint = f"did you mean '{match}'? " if match else ""
        raise InputError(f"unknown model '{name}'; {hint}there are: {', '.join(names)}; or give a path")
    found = _find(card)
    if found is None:
        raise InputError(
            f"'{card.name}' ({card.terms}) is not here: download it from {card.source} and save it as "
            f"'{CHECKOUT_WEIGHTS / card.file}'"
        )
    if card.sha256 is not None and (real := _sha256(found)) != card.sha256:
        raise InputError(
            f"'{found}' is not the file of '{card.name}': its SHA-256 begins with {real[:12]}, but should with "
            f"{card.sha256[:12]}; download it again"
        )
    return found


def _find(card: ModelCard) -> Path | None:
    return next((path for folder in (WEIGHTS, CHECKOUT_WEIGHTS) if (path := folder / card.file).is_file()), None)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
