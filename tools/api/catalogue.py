"""Models by name: what ships with this project, and the published checkpoints with where to get them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pointrecon.hub import find_weights, is_place
from pointrecon.utils.errors import InputError, closest
from pointrecon.utils.files.io import check_file

WEIGHTS = Path(__file__).resolve().parent / "weights"  # in an installed package
CHECKOUT_WEIGHTS = Path(__file__).resolve().parents[2] / "data" / "weights"
SUFFIXES = (".pth", ".pt", ".safetensors", ".ckpt", ".bin", ".tar")
BEST_ON = {"lvis": "lvis", "modelnet40": "modelnet40_overall", "scanobjectnn": "scanobjectnn"}
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


def _open_models() -> Iterator[ModelCard]:
    """Open-vocabulary encoders; their publishers state no hashes."""
    for size in ("base", "large"):
        for best, on in BEST_ON.items():
            yield ModelCard(
                f"reconpp-{size}-{best}",
                f"reconpp_{size}_{best}.pth",
                f"ReCon++ {size}, the epoch that was best on {on}'s test objects (ECCV 2024)",
                f"https://huggingface.co/qizekun/ReConV2 (zeroshot/{size}/best_{on}.pth)",
                "Apache-2.0; trained on data that its page calls CC BY-NC 4.0",
            )
    for size in ("ti", "s", "b", "l", "g"):
        for suffix, data in (("", "OpenShape's data"), ("-no-lvis", "OpenShape's data without Objaverse-LVIS")):
            yield ModelCard(
                f"uni3d-{size}{suffix}",
                f"uni3d_{size}{suffix.replace('-', '_')}.pt",
                f"Uni3D {size} trained on {data} (ICLR 2024)",
                f"https://huggingface.co/BAAI/Uni3D (modelzoo/uni3d-{size}{suffix}/model.pt)",
                "code MIT; the page of the weights names no licence",
            )
    for clip, width in (("vitg14", "1280-d, z up"), ("vitl14", "768-d, y up"), ("vitb32", "512-d, y up")):
        yield ModelCard(
            f"openshape-pointbert-{clip}",
            f"openshape_pointbert_{clip}.pt",
            f"OpenShape-PointBERT against CLIP {clip} ({width}; NeurIPS 2023)",
            f"https://huggingface.co/OpenShape/openshape-pointbert-{clip}-rgb (model.pt)",
            "Apache-2.0",
        )
    yield ModelCard(
        "ulip2-pointbert",
        "ulip2_pointbert.pt",
        "ULIP-2's Point-BERT on 10,000 coloured points (CVPR 2024)",
        "https://huggingface.co/datasets/SFXX/ulip (ULIP-2/pretrained_models)",
        "BSD-3-Clause",
    )


MODELS = (
    ModelCard(
        "pointrecon-small",
        "pointrecon-small.safetensors",
        "this project's small ReCon, pretrained on shapes of Debian packages and Sweet Home 3D; knows words",
        None,
        "CC-BY-SA-3.0; see the model card beside it",
        "fa2b9ca438ab3b76e1af38df574b97e3556caa27cbd0334acd8fb9abeac5dd1c",
    ),
    ModelCard(
        "recon-base-pretrain",
        "recon_base_pretrain.pth",
        "ReCon base pretrained on ShapeNet-55 (ICML 2023)",
        RECON,
        "MIT",
    ),
    *_open_models(),
)


def list_models() -> list[ModelCard]:
    """Every model that `load_model` knows by name."""
    return list(MODELS)


def find_weights_file(name: str | Path) -> Path:
    """The file of a model.

    Args:
        name: A path, a folder that `save_pretrained` has written, hf://OWNER/NAME of a model hub, or a name from
            `list_models`.

    Raises:
        InputError: There is no such file or name, its file has not been downloaded, or its hash is another.
    """
    path = Path(name).expanduser()
    if path.exists() and not path.is_dir():
        return check_file(path, "checkpoint")
    card = next((card for card in MODELS if card.name == str(name)), None)
    if card is None and is_place(name):
        return find_weights(name)
    if card is None:
        if path.suffix in SUFFIXES or len(path.parts) > 1:
            raise InputError(f"'{name}' is not there; give a checkpoint, or a name from pointrecon.list_models()")
        names = [card.name for card in MODELS]
        match = closest(str(name), names)
        hint = f"did you mean '{match}'? " if match else ""
        raise InputError(f"unknown model '{name}'; {hint}there are: {', '.join(names)}; or give a path")
    found = _find(card)
    if found is None and card.source is None:
        raise InputError(f"'{card.name}' comes with this project, but '{CHECKOUT_WEIGHTS / card.file}' is missing")
    if found is None:
        raise InputError(
            f"'{card.name}' (licence: {card.terms}) is not here: download it from {card.source} and save it as "
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
