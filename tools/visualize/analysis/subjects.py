"""What is analysed: the networks of runs, and the objects that all of them are shown.

Shape legend: n objects, N points, B objects of a batch.
"""

import logging
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from pointrecon.tools.build import build_dataset, build_pretrainer, eval_transform, train_transform
from pointrecon.tools.checkpoints.checkpoint import read_checkpoint
from pointrecon.tools.checkpoints.pretrained import load_pretrained
from pointrecon.tools.context import Standalone
from pointrecon.tools.teachers.teachers import Teachers
from pointrecon.tools.visualize import name_runs
from pointrecon.utils.config import load_config, save_config
from pointrecon.utils.errors import InputError
from pointrecon.utils.seed import MAX_SEED, generator

LAST = "ckpt-last.pth"
RANDOM = "random"
NUM_SHOWN = 256  # objects that batch-norms of random weights take their statistics from
EPOCH = re.compile(r"ckpt-epoch-(\d+)\.pth")  # what keep_epochs leaves
TRAINED, HELD_OUT = "pretrain", "test"
_clouds: dict[tuple[str, str, str, int], tuple[list[str], Tensor]] = {}
log = logging.getLogger("pointrecon.analysis")


@dataclass(frozen=True)
class Subject:
    """A pretraining network, on the CPU, in evaluation mode.

    Attributes:
        name: how figures call it.
        path: its checkpoint.
        network: it.
        config: the whole config of its run; the section `data` is the same for all subjects of an analysis.
        means: (D,) by teacher, what was subtracted from its features in training.
    """

    name: str
    path: Path
    network: Any
    config: Any
    means: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def is_random(self) -> bool:
        """Whether nothing has trained it."""
        return self.path == Path(RANDOM)

    @property
    def rebuilds(self) -> bool:
        """Whether it was trained to reconstruct."""
        return hasattr(self.network, "decoder") and self.config["loss"]["chamfer"]["weight"] > 0

    @property
    def contrasts(self) -> bool:
        """Whether it was trained to agree with teachers, or class by class."""
        return bool(self.network.teachers) or self.network.contrast is not None


class Shown(NamedTuple):
    """A batch as the network is shown it."""

    points: Tensor  # (B, N, 3)
    targets: dict[str, Tensor]  # as `ReCon.forward` takes them
    labels: Tensor  # (B,)


def open_subjects(places: Sequence[str], overrides: Sequence[str] = ()) -> list[Subject]:
    """Loads networks.

    Args:
        places: for each a run folder or a checkpoint, or NAME=PLACE; `random` is the first network with other weights
            than any training started from.
        overrides: key=value, for the configs of all, such as data_root=data or data.type=SweetHome3D.

    Raises:
        InputError: a place holds no pretraining network, or two have one name.
    """
    named = [place.partition("=")[::2] if "=" in place else ("", place) for place in places]
    short = {path: name for name, path in name_runs([Path(place) for _, place in named]).items()}
    names = [name or short[Path(place).resolve()] for name, place in named]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two networks are called '{name}'; give NAME=PATH for each")
    if named[0][1] == RANDOM:
        raise InputError(f"'{RANDOM}' comes first, but is made after the first network; give a run before it")
    subjects: list[Subject] = []
    for name, (_, place) in zip(names, named, strict=True):
        found = at_random(subjects[0], name) if place == RANDOM else _load(name, checkpoint_of(Path(place)), overrides)
        subjects.append(found)
    shared = {key: subjects[0].config[key] for key in ("data", "data_root")}
    return [replace(subject, config={**subject.config, **shared}) for subject in subjects]


def at_random(subject: Subject, name: str) -> Subject:
    """The same network with weights of another seed than any run has, and statistics of objects that are trained on."""
    network = subject.network
    dims = {key: teacher.dim for key, teacher in network.teachers.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(MAX_SEED)
        cfg: Any = {**subject.config, "model": {**subject.config["model"], "drop_path": 0.0}}
        network = build_pretrainer(cfg, dims)
        _, points = clouds(subject, TRAINED, NUM_SHOWN)
        network.train()
        with torch.no_grad():
            for part in points.split(subject.config["batch_size"]):
                network.encoder.embed(part)
    return replace(subject, name=name, path=Path(RANDOM), network=network.eval().requires_grad_(False))


def checkpoint_of(place: Path) -> Path:
    """The checkpoint of a run folder, or the file itself."""
    path = place / LAST if place.is_dir() else place
    if not path.is_file():
        raise InputError(f"'{path}' does not exist; give a run folder with {LAST}, or a checkpoint")
    return path


def snapshots(subject: Subject) -> list[Subject]:
    """The same network at each epoch of which its folder has a checkpoint (`keep_epochs`), the last one at the end."""
    if subject.is_random:
        return [subject]
    found = [(int(match[1]), path) for path in subject.path.parent.iterdir() if (match := EPOCH.fullmatch(path.name))]
    paths = [path for _, path in sorted(found)] if subject.path.name == LAST else []
    at_epochs = [replace(subject, path=path, network=_pretrainer(path)[0]) for path in paths]
    return at_epochs if at_epochs and epoch_of(at_epochs[-1]) == epoch_of(subject) else [*at_epochs, subject]


def epoch_of(subject: Subject) -> int | None:
    """The epochs that a network was trained for; None if its file does not say."""
    if subject.is_random:
        return 0
    epoch = read_checkpoint(subject.path).get("epoch")
    return int(epoch) if isinstance(epoch, int) else None


def clouds(subject: Subject, split: str, count: int) -> tuple[list[str], Tensor]:
    """Objects as an evaluation shows them: their ids and (n, N, 3), at most `count`, evenly spread over the split."""
    key = (repr(subject.config["data"]), subject.config["data_root"], split, count)
    if key not in _clouds:  # the same for all networks of an analysis
        dataset = build_dataset(subject.config, split, shots=None)
        samples = [dataset[row] for row in spread(len(dataset), count)]
        points = torch.stack([sample["points"] for sample in samples])
        shown = eval_transform(subject.config["data"], dataset)(points)
        _clouds[key] = [sample["id"] for sample in samples], shown
    return _clouds[key]


def batches(
    subject: Subject, split: str, *, count: int, batch_size: int, draws: int = 1, is_varied: bool = False
) -> Iterator[Shown]:
    """Batches with what the teachers of this network say, the same for all networks of an analysis.

    Args:
        subject: its config says which objects and teachers.
        split: whose objects.
        count: objects at most, evenly spread over the split; what is left over of the last batch is left out.
        batch_size: B at most.
        draws: times that each object is shown, with other views and prompts.
        is_varied: augmented as in training.
    """
    dataset = build_dataset(subject.config, split, shots=None)
    teachers = Teachers(subject.config, dataset, Standalone(torch.device("cpu"), log))
    for name, mean in subject.means.items():
        if name in teachers.sources:  # that of the objects of this split would be another zero
            teachers.sources[name].mean = mean
    make = train_transform if is_varied else eval_transform
    transform = make(subject.config["data"], dataset)
    rows = np.random.RandomState(0).permutation(spread(len(dataset), count))
    size = min(batch_size, len(rows))
    for draw in range(draws):
        random = generator("cpu", draw)
        for start in range(0, len(rows) - size + 1, size):
            batch = default_collate([dataset[int(row)] for row in rows[start : start + size]])
            yield Shown(transform(batch["points"], random), teachers.draw(batch, random), batch["label"])


def spread(length: int, count: int) -> list[int]:
    """Up to `count` different rows of `length`, evenly spread."""
    return sorted({*np.linspace(0, length - 1, min(count, length)).round().astype(int).tolist()})


def _load(name: str, path: Path, overrides: Sequence[str]) -> Subject:
    network, info = _pretrainer(path)
    with tempfile.TemporaryDirectory() as folder:
        save_config(info.config, Path(folder) / "config.yaml")
        config = load_config(Path(folder) / "config.yaml", overrides)
    return Subject(name, path, network, config, info.feature_means)


def _pretrainer(path: Path) -> tuple[Any, Any]:
    network, info = load_pretrained(path)
    if not hasattr(network, "distil"):
        raise InputError(f"'{path}' is a {info.kind}, but an analysis needs the network of a pretraining")
    return network, info
