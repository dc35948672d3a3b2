"""Checkpoints: written whole or not at all, read without running code, recognised by their keys.

A checkpoint is a dict with `base_model`, `optimizer`, `epoch`, `metrics`, `best_metrics` as in the published code, and
what `tools/snapshot.py` adds. `torch.load(..., weights_only=True)` reads it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pointrecon.models.blocks.batch_norm import is_possible
from pointrecon.models.published.encoder import (
    CLASS_TOKEN,
    QUERY_STREAM,
    Layout,
    dropped_keys,
    from_published,
    identify,
    is_published,
    strip_wrappers,
)
from pointrecon.tools.checkpoints.sizes import PROJECTION, describe_differences, kind_of, sizes_of, summarize
from pointrecon.tools.settings import Settings
from pointrecon.utils.config import flatten
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write
from pointrecon.utils.files.weights import read_weights

VERSION = 1
# Where files keep the weights: this project and most published ones, part segmentation, other programs.
CONTAINERS = ("base_model", "model_state_dict", "model", "state_dict", "module")
BATCHES = "num_batches_tracked"  # some programs do not save it
MANY_BATCHES = 1 << 20  # behind statistics that come without it
# What a network is shown: it may be changed, and its accuracy goes with it.
SHOWN = ("data.num_points", "model.num_groups", "model.group_size", "data.normalize", "data.eval_sampling")
# What a plain masked autoencoder does not have.
NOT_PLAIN = ("contrast_head.", "decoder.")


@dataclass
class LoadReport:
    """What `load_weights` did, for the log."""

    path: str
    num_loaded: int
    initial: list[str]  # keys of the model that the file does not have
    ignored: list[str]  # keys of the file that the model does not have
    kind: str = "checkpoint"  # what the file is
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        text = f"{self.num_loaded} tensors from '{self.path}', a {self.kind} file"
        if self.initial:
            text += f"; at their initial values, since such a file has none: {summarize(self.initial)}"
        if self.ignored:
            text += f"; of the file not needed here: {summarize(self.ignored)}"
        return "; ".join([text, *self.notes])


def save_checkpoint(content: Mapping[str, Any], path: Path) -> None:
    """Writes a checkpoint beside `path` and moves it there, so that a killed run leaves the old file whole."""
    with atomic_write(path, is_durable=True) as temporary:
        write_checkpoint(content, temporary)


def write_checkpoint(content: Mapping[str, Any], path: Path) -> None:
    """Writes a checkpoint, plainly; for use inside `atomic_write`."""
    # Through a file of Python's own: if the disk is full, the system's reason is kept.
    with path.open("wb") as file:
        torch.save({**content, "version": VERSION}, file)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU: ours, a published one, either as .safetensors, or a bare state dict.

    Returns:
        The dict, with `base_model` in our key names, `layout` (the `Layout` of a published file, else None) and
        `dropped` (keys of the file that no network here has, such as teachers) and `left_out` (what of the file was not
        read, since it is neither tensors nor plain values).

    Raises:
        InputError: there is no such file, it is damaged, it holds more than tensors and plain values, no weights, or
            those of an unknown network.
    """
    if _peeked and _peeked[0][0] == _stamp(path):
        return _peeked.pop()[1]
    file = read_weights(path)
    content = file.content
    name, state = _find_weights(content)
    if state is None:
        raise InputError(
            f"'{path}' holds no weights: it must be a checkpoint with 'base_model' or '{CONTAINERS[1]}', a dict of "
            "tensors, or such a dict itself"
        )
    rest = {} if name is None else {key: value for key, value in content.items() if key != name}
    rest["left_out"] = list(file.left_out)
    try:
        if not is_published(state):
            return {**rest, "base_model": strip_wrappers(state), "layout": None, "dropped": []}
        layout, ours = identify(state), from_published(state)
    except InputError as error:
        raise InputError(f"checkpoint '{path}' cannot be used: {error}") from error
    return {**rest, "base_model": ours, "layout": layout, "dropped": dropped_keys(state)}


def peek_checkpoint(path: str | Path) -> dict[str, Any]:
    """As `read_checkpoint`, which then need not read the same file again when it is asked the next time."""
    content = read_checkpoint(path)
    _peeked[:] = [(_stamp(path), content)]
    return content


_peeked: list[tuple[tuple, dict[str, Any]]] = []  # at most one: it may be large


def _stamp(path: str | Path) -> tuple:
    try:
        status = Path(path).stat()
    except OSError:
        return ()
    return str(Path(path).absolute()), status.st_mtime_ns, status.st_size, status.st_ino


def load_weights(
    model: nn.Module,
    path: str | Path,
    may_lack: Iterable[str] = (),
    skip: Iterable[str] = (),
    *,
    content: Mapping[str, Any] | None = None,
    cfg: Settings | None = None,
) -> LoadReport:
    """Copies the weights of a checkpoint into a model.

    Args:
        model: changed only if everything fits; prefixes in its attribute `may_lack` add to those given here.
        path: ours or a published one, see `read_checkpoint`.
        may_lack: prefixes of the model's keys that stay at their initial value if the file does not have them.
        skip: prefixes of keys that are not loaded, whatever their sizes: what the model has and does not use.
        content: what `read_checkpoint` has returned for the path, if it has been read already.
        cfg: of a run that trains nothing: what of it is not as in the network's training is noted.

    Raises:
        InputError: the file cannot be read, sizes differ, or it lacks weights that it should have.
    """
    content, skip = read_checkpoint(path) if content is None else content, tuple(skip)
    layout = content["layout"]
    kind = f"published {layout.name}" if layout else kind_of(content["base_model"])
    skipped = [key for key in content["base_model"] if key.startswith(skip)]
    state = {key: value for key, value in content["base_model"].items() if key not in skipped}
    wanted = {key: value for key, value in model.state_dict().items() if not key.startswith(skip)}
    notes = _place_class_token(state, wanted) if layout is not None and layout.is_plain else []
    notes += _add_batch_counts(state, wanted)
    misfit = f"checkpoint '{path}', a {kind} file, does not fit this network"
    if (reason := getattr(model, "refusal", lambda _: None)(state)) is not None:
        raise InputError(f"{misfit}: {reason}")
    differences = describe_differences(
        sizes_of(state) | _unseen_sizes(content), sizes_of(wanted) | _unseen_sizes_of(model, skip)
    )
    if differences:
        raise InputError(f"{misfit}: {differences}; give the sizes that it was trained with{_head_hint(differences)}")
    shared = _check_tensors(state, wanted, path, misfit)
    initial = [key for key in wanted if key not in state]
    prefixes = (*may_lack, *getattr(model, "may_lack", ()))
    lacking = [key for key in initial if not key.startswith(prefixes) and not _is_no_part_of(layout, key)]
    surplus = [key for key in state if key not in wanted]
    if lacking or any(key.startswith("encoder.") for key in surplus):
        keys, verb = (lacking, "lacks") if lacking else (surplus, "has, and this network has not,")
        raise InputError(f"{misfit}: it {verb} {summarize(keys)}, for example '{keys[0]}'; give one of the same kind")
    model.load_state_dict({key: state[key] for key in shared}, strict=False)
    if layout is not None and layout.is_plain and getattr(getattr(model, "encoder", None), "block", "") == "ReConBlock":
        notes.append(
            "its blocks are plain pre-norm ones, ReCon's are not: a start for training, not a copy of it "
            "(model.block=PreNormBlock computes what they did)"
        )
    notes += describe_changes(content, cfg) if cfg is not None and not cfg["epochs"] else []
    if content.get("left_out"):
        notes.append(f"left unread, since it is of another program: {', '.join(content['left_out'])}")
    return LoadReport(str(path), len(shared), initial, content["dropped"] + skipped + surplus, kind, notes)


def describe_changes(content: Mapping[str, Any], cfg: Settings) -> list[str]:
    """What a network that is only tested is shown otherwise than in its training, as far as its file tells."""
    config = content.get("config")
    saved = flatten(config) if isinstance(config, Mapping) else {}
    now = flatten(cfg)
    changed = [key for key in SHOWN if key in saved and saved[key] != now.get(key)]
    if not changed:
        return []
    return ["NOTE: " + ", ".join(f"it was trained with {key}={saved[key]}, here it is {now[key]}" for key in changed)]


def _place_class_token(state: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """Puts the class token of a plain transformer where this network has one, or leaves it out; says which."""
    notes = []
    for name in CLASS_TOKEN:
        inner, outer = f"encoder.cls_{name}", f"cls_{name}"
        if inner in state and inner not in wanted:
            token = state.pop(inner)
            if outer in wanted:
                state[outer] = token
            elif name == "token":
                notes.append(
                    "its class token takes part in the attention among its patches and has no place here "
                    "(model.type=TwoTower model.class_token=true has one)"
                )
    return notes


def _add_batch_counts(state: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """Adds the numbers of batches that are missing behind running statistics, so that these are kept as they are."""
    counts = {key: key.replace(BATCHES, "running_mean") for key in wanted if key.endswith(f".{BATCHES}")}
    missing = [
        key
        for key, mean in counts.items()
        if mean in state and (key not in state or (not state[key].any() and bool(state[mean].any())))
    ]
    state |= {key: torch.tensor(MANY_BATCHES) for key in missing}
    return [f"it does not say of how many batches its statistics are ({BATCHES}): taken as of many"] if missing else []


def _check_tensors(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: str | Path, misfit: str
) -> list[str]:
    """The keys that file and network share.

    Raises:
        InputError: tensors of another size, or with values that are no numbers.
    """
    shared = [key for key in wanted if key in state]
    differing = [key for key in shared if state[key].shape != wanted[key].shape]
    if differing:
        first = differing[0]
        raise InputError(
            f"{misfit}: {len(differing)} tensors are of another size, '{first}' is {tuple(state[first].shape)} in the "
            f"file and {tuple(wanted[first].shape)} here; give the sizes that it was trained with"
        )
    damaged = next((key for key in shared if not _is_sound(key, state[key], wanted[key])), None)
    if damaged is not None:
        raise InputError(
            f"checkpoint '{path}' is damaged: '{damaged}' has values that are not finite, or a variance below zero"
        )
    return shared


def _head_hint(differences: str) -> str:
    is_head = any(word in differences for word in ("number of classes", "classifier.head", "number of parts"))
    return ", or classifier.init_head=new (segmenter.init_head=new) to start with a new head" if is_head else ""


def _find_weights(content: Any) -> tuple[str | None, dict[str, Tensor] | None]:
    """The name under which a file keeps its weights (None: it is nothing but weights), and the weights if there are."""
    if not isinstance(content, dict):
        return None, None
    for name in CONTAINERS:
        if isinstance(content.get(name), dict):
            return name, content[name] if _is_state(content[name]) else None
    return None, content if _is_state(content) and content else None


def _is_state(value: Mapping) -> bool:
    return all(isinstance(key, str) and isinstance(item, Tensor) for key, item in value.items())


def _is_sound(key: str, value: Tensor, wanted: Tensor) -> bool:
    """Whether a tensor of a file is of a similar type as the network's, finite in it, and no negative variance."""
    is_similar = value.is_floating_point() == wanted.is_floating_point() and not value.is_complex()
    return is_similar and is_possible(key, value.to(wanted.dtype))


def _is_no_part_of(layout: Layout | None, key: str) -> bool:
    """Whether the key names what a plain masked autoencoder does not have, and the file is one; or what a 2D ViT has
    not."""
    if layout is not None and layout.only and not key.startswith(layout.only):
        return True
    return (
        layout is not None
        and layout.is_plain
        and bool(QUERY_STREAM.match(key) or key.startswith(NOT_PLAIN) or PROJECTION.match(key))
    )


def _unseen_sizes(content: Mapping[str, Any]) -> dict[str, Any]:
    """What no weight shows: numbers of attention heads and the block, as the config in a checkpoint has them."""
    config = content.get("config")
    model = config.get("model") if isinstance(config, Mapping) else None
    if not isinstance(model, Mapping):
        return {}
    known = {"block": "ReConBlock", **model}  # older versions had no other
    is_one = known.get("type", "ReCon") == "ReCon"
    keys = ("num_heads", "decoder_num_heads", *(("block",) if is_one else ()))
    return {f"model.{name}": known[name] for name in keys if known.get(name) is not None}


def _unseen_sizes_of(model: nn.Module, skip: tuple[str, ...]) -> dict[str, Any]:
    """The same of a network, without the parts that are skipped."""
    parts = {"num_heads": ("encoder", "num_heads"), "decoder_num_heads": ("decoder", "num_heads")}
    parts["block"] = ("encoder", "block")
    found = {
        f"model.{key}": getattr(getattr(model, part, None), attribute, None)
        for key, (part, attribute) in parts.items()
        if f"{part}." not in skip
    }
    return {key: value for key, value in found.items() if value is not None}
