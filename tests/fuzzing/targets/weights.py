"""What is fuzzed of checkpoints: ours, published ones and safetensors, of every kind of network."""

import copy
import functools
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pointrecon.models.classifier import PointClassifier
from pointrecon.models.decoder import MaskedDecoder
from pointrecon.models.encoder import PointEncoder
from pointrecon.models.losses.distillation import Distillation
from pointrecon.models.published.encoder import to_published
from pointrecon.models.recon import ReCon
from pointrecon.models.segmenter import PointSegmenter
from pointrecon.models.two_tower import TwoTower, TwoTowerEncoder
from pointrecon.tools.checkpoints.checkpoint import load_weights, read_checkpoint
from pointrecon.tools.checkpoints.convert import convert
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.weights import write_safetensors
from tests.fuzzing.forms import Form, WrongResult
from tests.fuzzing.mutations import VALUES, spoil_bytes, spoil_leaf, spoil_safetensors, spoil_tree, spoil_zip

SIZES = {"embed_dim": 12, "depth": 2, "num_heads": 2, "num_groups": 8, "group_size": 4, "patch_width": 8}
DTYPES = (torch.float16, torch.float64, torch.int64, torch.bool, torch.complex64, torch.bfloat16, torch.uint8)


def _pretrainer(kind: type[nn.Module], encoder: type[nn.Module]) -> nn.Module:
    decoder = MaskedDecoder(SIZES["embed_dim"], 1, 2, SIZES["group_size"])
    return kind(encoder(**SIZES), decoder, teachers={"image": Distillation(10), "text": Distillation(6)})


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "pretraining": lambda: _pretrainer(ReCon, PointEncoder),
    "two towers": lambda: _pretrainer(TwoTower, TwoTowerEncoder),
    "classifier": lambda: PointClassifier(PointEncoder(**SIZES), 3, "linear"),
    "segmenter": lambda: PointSegmenter(PointEncoder(**SIZES), 16, 50, (1, 2)),
}


@functools.cache
def network(name: str) -> nn.Module:
    """The network that a checkpoint is loaded into; always the same weights at first."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return NETWORKS[name]()


def write_checkpoint(folder: Path, name: str, style: str) -> None:
    """Writes a valid checkpoint: `ours`, `published`, `bare` or `legacy` as .pth; `safetensors`."""
    state = network(name).state_dict()
    rest = {"epoch": 3, "metrics": {"acc": 0.5}, "config": {"model": {"num_heads": 2}}, "optimizer": {"state": {}}}
    if style == "safetensors":
        write_safetensors(state, rest, folder / "a.safetensors")
        return
    if style in ("published", "legacy"):
        state = to_published(state)
    is_segmenter = name == "segmenter" and style != "ours"
    content: Any = {"model_state_dict" if is_segmenter else "base_model": dict(state), **rest}
    is_zip = style != "legacy"
    torch.save(state if style == "bare" else content, folder / "a.pth", _use_new_zipfile_serialization=is_zip)


def spoil_checkpoint(path: Path, rng: random.Random) -> None:
    """Changes the tensors, the pickle, the header, or just bytes."""
    data, kind = path.read_bytes(), rng.random()
    if path.suffix == ".safetensors":
        path.write_bytes(spoil_safetensors(data, rng) if kind < 0.6 else spoil_bytes(data, rng))
    elif kind < 0.5:
        content = torch.load(path, weights_only=True)
        is_zip = data.startswith(b"PK")
        spoilt = spoil_tree(content, rng, spoil_tensor)
        torch.save(spoilt, path, _use_new_zipfile_serialization=is_zip)
    elif kind < 0.8 and data.startswith(b"PK"):
        path.write_bytes(spoil_zip(data, rng))
    else:
        path.write_bytes(spoil_bytes(data, rng))


def spoil_tensor(value: Any, rng: random.Random) -> Any:
    """Changes a tensor, or anything else that a checkpoint holds."""
    if not isinstance(value, Tensor):
        return spoil_leaf(value, rng)
    changes: dict[str, Callable[[], Any]] = {
        "type": lambda: value.to(rng.choice(DTYPES)),
        "shape": lambda: value.flatten()[: rng.randrange(value.numel() + 1)].clone(),
        "axis": lambda: value.unsqueeze(rng.choice((0, -1))),
        "turn": lambda: value.flip(0).transpose(0, -1) if value.dim() else value,
        "number": lambda: (
            value.double().index_fill(0, torch.tensor([0]), rng.choice((math.nan, math.inf, 1e300)))
            if value.dim() and len(value)
            else torch.tensor(math.nan)
        ),
        "huge": lambda: torch.zeros(1).expand(rng.choice((10**6, 10**12)), 3),
        "sparse": lambda: torch.sparse_coo_tensor(torch.tensor([[0]]), torch.ones(1), (10**9,)),
        "meta": lambda: torch.empty(10**9, device="meta"),
        "parameter": lambda: nn.Parameter(value.float()),
        "other": lambda: rng.choice(VALUES),
        "random": lambda: torch.rand(tuple(rng.randrange(4) for _ in range(rng.randrange(4)))),
    }
    return changes[rng.choice(list(changes))]()


def read_into(folder: Path, name: str) -> None:
    """Loads a checkpoint into its network, and converts it."""
    path = next(iter(folder.glob("a.*")))
    model = copy.deepcopy(network(name))
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    try:
        content = read_checkpoint(path)
        if not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content["base_model"].items()):
            raise WrongResult("weights are not tensors")
        report = load_weights(model, path, may_lack=("head.", "decoder."))
        str(report)
    except InputError:
        if not _is_same(model, network(name)):
            raise WrongResult("the network was changed although its checkpoint was refused") from None
        raise
    state = model.state_dict()
    if {key: value.shape for key, value in state.items()} != shapes:
        raise WrongResult("the network has other shapes")
    if not all(value.isfinite().all() for value in state.values()):
        raise WrongResult("the network has weights that are not finite")
    convert(path, folder / "b.safetensors", "safetensors")
    convert(folder / "b.safetensors", folder / "c.pth", "published")


def _is_same(model: nn.Module, other: nn.Module) -> bool:
    pairs = zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(value, wanted) for value, wanted in pairs)


def _form(name: str, style: str) -> Form:
    return Form(
        f"{name}, {style}",
        functools.partial(write_checkpoint, name=name, style=style),
        functools.partial(read_into, name=name),
        spoil_checkpoint,
    )


STYLES = ("ours", "published", "safetensors", "bare", "legacy")
FORMS = tuple(_form(name, style) for name in NETWORKS for style in STYLES)
