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

from pointrecon.models.published.encoder import (
    QUERY_STREAM,
    Layout,
    dropped_keys,
    from_published,
    identify,
    is_published,
    strip_module,
)
from pointrecon.tools.checkpoints.sizes import describe_differences, kind_of, sizes_of, summarize
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write
from pointrecon.utils.files.weights import read_weights_file

VERSION = 1
# Where files keep the weights: this project and most published ones, part segmentation, other programs.
CONTAINERS = ("base_model", "model_state_dict", "model", "state_dict")
# What a plain masked autoencoder does not have.
NOT_PLAIN = ("image_proj.", "text_proj.", "contrast_head.", "decoder.")


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
        `dropped` (keys of the file that no network here has, such as teachers).

    Raises:
        InputError: there is no such file, it is damaged, it holds more than tensors and plain values, no weights, or
            those of an unknown network.
    """
    content = read_weights_file(path)
    name, state = _find_weights(content)
    if state is None:
        raise InputError(
            f"'{path}' holds no weights: it must be a checkpoint with 'base_model' or '{CONTAINERS[1]}', a dict of "
            "tensors, or such a dict itself"
        )
    rest = {} if name is None else {key: value for key, value in content.items() if key != name}
    if not is_published(state):
        return {**rest, "base_model": strip_module(state), "layout": None, "dropped": []}
    try:
        layout, ours = identify(state), from_published(state)
    except InputError as error:
        raise InputError(f"checkpoint '{path}' cannot be used: {error}") from error
    return {**rest, "base_model": ours, "layout": layout, "dropped": dropped_keys(state)}


def load_weights(
    model: nn.Module,
    path: str | Path,
    may_lack: Iterable[str] = (),
    skip: Iterable[str] = (),
    *,
    content: Mapping[str, Any] | None = None,
) -> LoadReport:
    """Copies the weights of a checkpoint into a model.

    Args:
        model: changed only if everything fits; prefixes in its attribute `may_lack` add to those given here.
        path: ours or a published one, see `read_checkpoint`.
        may_lack: prefixes of the model's keys that stay at their initial value if the file does not have them.
        skip: prefixes of keys that are not loaded, whatever their sizes: what the model has and does not use.
        content: what `read_checkpoint` has returned for the path, if it has been read already.

    Raises:
        InputError: the file cannot be read, sizes differ, or it lacks weights that it should have.
    """
    content, skip = read_checkpoint(path) if content is None else content, tuple(skip)
    state, layout = content["base_model"], content["layout"]
    kind = f"published {layout.name}" if layout else kind_of(state)
    skipped = [key for key in state if key.startswith(skip)]
    state = {key: value for key, value in state.items() if key not in skipped}
    wanted = {key: value for key, value in model.state_dict().items() if not key.startswith(skip)}
    misfit = f"checkpoint '{path}', a {kind} file, does not fit this network"
    differences = describe_differences(sizes_of(state, _heads_in(content)), sizes_of(wanted, _heads_of(model, skip)))
    if differences:
        raise InputError(f"{misfit}: {differences}; give the sizes that it was trained with")
    shared = [key for key in wanted if key in state]
    differing = [key for key in shared if state[key].shape != wanted[key].shape]
    if differing:
        first = differing[0]
        raise InputError(
            f"{misfit}: {len(differing)} tensors are of another size, '{first}' is {tuple(state[first].shape)} in the "
            f"file and {tuple(wanted[first].shape)} here; give the sizes that it was trained with"
        )
    spoilt = next((key for key in shared if not _is_sound(state[key], wanted[key])), None)
    if spoilt is not None:
        raise InputError(f"checkpoint '{path}' is damaged: '{spoilt}' has values that are no finite numbers")
    initial = [key for key in wanted if key not in state]
    prefixes = (*may_lack, *getattr(model, "may_lack", ()))
    lacking = [key for key in initial if not key.startswith(prefixes) and not _is_no_part_of(layout, key)]
    surplus = [key for key in state if key not in wanted]
    if lacking or any(key.startswith("encoder.") for key in surplus):
        keys, verb = (lacking, "lacks") if lacking else (surplus, "has, and this network has not,")
        raise InputError(f"{misfit}: it {verb} {summarize(keys)}, for example '{keys[0]}'; give one of the same kind")
    model.load_state_dict({key: state[key] for key in shared}, strict=False)
    notes = []
    if layout is not None and layout.is_plain and any("_contrast." in key for key in initial):
        notes.append("its blocks are plain pre-norm ones, ReCon's are not: a start for training, not a copy of it")
    return LoadReport(str(path), len(shared), initial, content["dropped"] + skipped + surplus, kind, notes)


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


def _is_sound(value: Tensor, wanted: Tensor) -> bool:
    """Whether a tensor of a file is of a similar type as the network's, and finite in it."""
    is_similar = value.is_floating_point() == wanted.is_floating_point() and not value.is_complex()
    return is_similar and bool(value.to(wanted.dtype).isfinite().all())


def _is_no_part_of(layout: Layout | None, key: str) -> bool:
    """Whether the key names what a plain masked autoencoder does not have, and the file is one."""
    return layout is not None and layout.is_plain and bool(QUERY_STREAM.match(key) or key.startswith(NOT_PLAIN))


def _heads_in(content: Mapping[str, Any]) -> dict[str, int | None]:
    """Numbers of attention heads as the config in a checkpoint has them."""
    config = content.get("config")
    model = config.get("model") if isinstance(config, Mapping) else None
    model = model if isinstance(model, Mapping) else {}
    return {f"model.{name}": model.get(name) for name in ("num_heads", "decoder_num_heads")}


def _heads_of(model: nn.Module, skip: tuple[str, ...]) -> dict[str, int | None]:
    """Numbers of attention heads of a network, without the parts that are skipped."""
    heads = {}
    for name, part in (("model.num_heads", "encoder"), ("model.decoder_num_heads", "decoder")):
        network = getattr(model, part, None)
        heads[name] = getattr(network, "num_heads", None) if f"{part}." not in skip else None
    return heads
