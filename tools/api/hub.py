"""Models as a hub keeps them: a folder with model.safetensors, config.json and a README.md that is the model card."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pointrecon.utils.config import to_plain
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write, write_json
from pointrecon.utils.files.weights import write_safetensors

if TYPE_CHECKING:
    from pointrecon.model import ShapeModel

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
HUB = "hf://"  # hf://OWNER/NAME, or hf://OWNER/NAME@REVISION
CARD_TEXT = """---
{front}---

# {title}

{what}, for [pointrecon](https://pypi.org/project/pointrecon/): clouds of {num_points:,} points, width {width}.

```python
import pointrecon

model = pointrecon.load_model("{place}")
model.{example}
```

Clouds and meshes are centred on their mean, scaled to the unit sphere and expected with +y up (`up="z"` turns them).
{classes}
Data, recipe and figures: *to be filled in by whoever trained it.* Licence of the weights: {licence}.

Method: [Contrast with Reconstruct (ReCon), ICML 2023](https://arxiv.org/abs/2302.02318).
"""


def save_folder(model: "ShapeModel", folder: str | Path, *, licence: str = "other", place: str | None = None) -> Path:
    """Writes a model; each file whole or not at all, the weights last. A model card that is there is kept.

    Args:
        model: One of this project's networks.
        folder: Made if it is not there.
        licence: Of the weights, by the hub's short names, such as mit or cc-by-sa-4.0.
        place: Where it will be found, for the card; default: the folder's name.

    Returns:
        The folder.

    Raises:
        InputError: The folder cannot be written, or the network is one of others.
    """
    folder, info, names = Path(folder), model.info, model.class_names
    if not isinstance(info.config.get("model"), dict):
        raise InputError(f"'{info.path}' is a {info.kind} file, not a network of this project; share that file itself")
    config = to_plain(info.config)
    means = {name: mean.tolist() for name, mean in info.feature_means.items()}
    about = {"config": config, "feature_means": means, **({"class_names": names} if names else {})}
    write_json(
        {
            "model_type": "pointrecon",
            "architectures": [type(model.network).__name__],
            "num_points": model.num_points,
            "hidden_size": model.embed_dim,
            "id2label": {str(row): name for row, name in enumerate(names)},
            **about,
        },
        folder / CONFIG,
    )
    if not (folder / CARD).exists():
        with atomic_write(folder / CARD) as temporary:
            temporary.write_text(_card(model, licence, place or folder.resolve().name), encoding="utf-8")
    write_safetensors(model.network.state_dict(), about, folder / WEIGHTS)
    return folder


def push_folder(folder: str | Path, repo_id: str, *, private: bool = False, message: str = "Upload model") -> str:
    """Uploads a folder of `save_folder`; huggingface_hub knows who the user is.

    Args:
        folder: The folder.
        repo_id: OWNER/NAME; made if it is not there.
        private: Of a new one, whether others can see it.
        message: Of the commit.

    Returns:
        The address of the commit.

    Raises:
        InputError: huggingface_hub is not installed, or the hub refuses.
    """
    api = _hub().HfApi()
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo_id, folder_path=str(folder), commit_message=message, allow_patterns=[WEIGHTS, CONFIG, CARD]
        )
    except (OSError, ValueError) as error:  # what huggingface_hub raises are such
        raise InputError(f"'{repo_id}' cannot be uploaded to: {_first_line(error)}") from error
    return str(getattr(done, "commit_url", done))


def is_place(name: str | Path) -> bool:
    """Whether a name stands for a folder of a model, on this machine or on a hub."""
    return str(name).startswith(HUB) or Path(name).expanduser().is_dir()


def find_weights(name: str | Path) -> Path:
    """The weights of a folder, or of a repository of a hub, which is fetched if it is not in the cache.

    Args:
        name: A folder, or hf://OWNER/NAME[@REVISION].

    Raises:
        InputError: There are none, or the hub cannot be asked.
    """
    folder = Path(name).expanduser()
    if str(name).startswith(HUB):
        repo_id, _, revision = str(name).removeprefix(HUB).partition("@")
        try:
            got = _hub().snapshot_download(repo_id, revision=revision or None, allow_patterns=[WEIGHTS, CONFIG])
        except (OSError, ValueError) as error:
            raise InputError(f"'{name}' cannot be fetched: {_first_line(error)}") from error
        folder = Path(got)
    path = folder / WEIGHTS
    if not path.is_file():
        raise InputError(f"'{name}' has no {WEIGHTS}; give a folder that save_pretrained has written, or a checkpoint")
    return path


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise InputError("a model hub needs huggingface_hub; run: pip install 'pointrecon[hub]'") from error
    return huggingface_hub


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _card(model: "ShapeModel", licence: str, place: str) -> str:
    names = model.class_names
    tags = ["point-cloud", "3d", "recon", "self-supervised-learning"]
    front = {"license": licence, "library_name": "pointrecon", "tags": [*tags, *(["classification"] if names else [])]}
    return CARD_TEXT.format(
        front="".join(f"{key}: {json.dumps(value)}\n" for key, value in front.items()),
        title=place.rsplit("/", 1)[-1],
        what=f"A {model.info.kind} network",
        num_points=model.num_points,
        width=model.embed_dim,
        place=place,
        example='classify("shapes/").labels' if names else 'embed("shapes/").embeddings',
        classes=f"\nClasses: {', '.join(names)}.\n" if names else "",
        licence=licence,
    )
