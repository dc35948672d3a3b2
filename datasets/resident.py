"""A training set that lies on the device as a whole: batches are picked there, and nothing is loaded in a step."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from pointrecon.datasets.dataset import PointCloudDataset
from pointrecon.datasets.loader import Loader, ShardSampler
from pointrecon.datasets.sample import Batch
from pointrecon.utils.errors import InputError

_READ_AT_ONCE = 64
_STEP, _CENTER = "step of the points", "centre of the points"
_STEPS = 32767  # of 16 bits with a sign
Show = Callable[[Iterable[Batch], str], Iterable[Batch]]


class ResidentLoader:
    """Stands in for the `Loader` of `datasets.loader.train_loader`: the same samples in the same order.

    A coordinate takes two bytes: half precision where that changes nothing, as for data that is stored so, and
    otherwise steps of 1/32,767 of the cloud's radius, counted from its centre. Raw clouds may lie far from the origin,
    where half precision would move them. Other tensors keep theirs.

    Args:
        loader: what it stands in for.
        device: where the samples go.
        progress: wraps the reading, for a progress bar.

    Attributes:
        dataset, batch_size, sampler: see `datasets.loader.BatchSource`.
        num_bytes: what the tensors take.
        is_exact: whether the points are those of the loader to the last bit.

    Raises:
        InputError: a sample is another one each time it is read, clouds differ in size, or the device has no room.
    """

    def __init__(self, loader: Loader, device: torch.device, progress: Show = lambda items, what: items) -> None:
        if type(loader.sampler) is not ShardSampler or not isinstance(loader.dataset, PointCloudDataset):
            raise InputError(
                "data.device_resident: the samples of this data set are not the same ones in each "
                "epoch; set data.device_resident=false"
            )
        self.dataset, self.batch_size, self.sampler = loader.dataset, loader.batch_size, loader.sampler
        self._length, self._drop_last = len(loader), loader.drop_last
        self._device = device
        self._tensors, self._texts = _read(loader.dataset, loader.num_workers, device, progress)
        self.num_bytes = sum(tensor.nbytes for tensor in self._tensors.values())
        self.is_exact = self._tensors["points"].dtype == torch.float16

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        order = np.fromiter(self.sampler, dtype=np.int64)
        on_device = torch.from_numpy(order).to(self._device)
        for first in range(0, len(order), self.batch_size):
            rows = on_device[first : first + self.batch_size]
            if len(rows) < self.batch_size and self._drop_last:
                return
            batch: dict[str, Any] = {key: tensor.index_select(0, rows) for key, tensor in self._tensors.items()}
            batch["points"] = batch["points"].float()
            if not self.is_exact:
                batch["points"] = batch["points"] * batch.pop(_STEP) + batch.pop(_CENTER)
            own = order[first : first + self.batch_size]
            yield cast(Batch, batch | {key: texts[own].tolist() for key, texts in self._texts.items()})


def _read(
    dataset: PointCloudDataset, num_workers: int, device: torch.device, progress: Show
) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
    """All samples: tensors (n, ...) on the device, and texts (n,)."""
    tensors: dict[str, Tensor] = {}
    texts: dict[str, list[str]] = {}
    done = 0
    batches = Loader(dataset, _READ_AT_ONCE, ShardSampler(len(dataset), False), num_workers=num_workers, pins=False)
    for batch in progress(batches, "onto the device"):
        count = len(batch["points"])
        for key, values in {**batch, **_shorten(batch["points"].float(), tensors)}.items():
            if not isinstance(values, Tensor):
                texts.setdefault(key, []).extend(cast(list[str], values))
            else:
                _put(tensors, key, values, done, len(dataset), device)
        done += count
    return tensors, {key: np.array(values) for key, values in texts.items()}


def _put(tensors: dict[str, Tensor], key: str, values: Tensor, done: int, total: int, device: torch.device) -> None:
    """Enters (B, ...) values from row `done` on into a table of `total` rows, which is made first."""
    if key not in tensors:
        tensors[key] = _room(key, (total, *values.shape[1:]), values.dtype, device)
    elif tensors[key].shape[1:] != values.shape[1:]:
        raise InputError(
            f"data.device_resident: '{key}' of the samples differ in size, so they make no table; resample the clouds "
            "to one number of points"
        )
    tensors[key][done : done + len(values)] = values.to(device)


def _shorten(points: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """(B, N, 3) float32 as it is kept; `tensors` are the tables so far, which are converted where they have to be."""
    half = points.half()
    if _STEP not in tensors:
        if torch.equal(half.float(), points):
            return {"points": half}
        if "points" in tensors:
            tensors.update(_to_steps(tensors["points"].float()))
    return _to_steps(points)


def _to_steps(points: Tensor) -> dict[str, Tensor]:
    """(B, N, 3) -> int16 of the same shape, (B, 1, 3) centres and (B, 1, 1) widths of a step."""
    center = (points.amin(dim=1, keepdim=True) + points.amax(dim=1, keepdim=True)) / 2
    centred = points - center
    step = centred.abs().amax(dim=(1, 2), keepdim=True).clamp_min(1e-30) / _STEPS
    return {"points": (centred / step).round().to(torch.int16), _STEP: step, _CENTER: center}


def _room(key: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """An empty tensor on the device.

    Raises:
        InputError: it does not fit.
    """
    needed = torch.Size(shape).numel() * dtype.itemsize
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if needed > 0.9 * free:
            raise InputError(
                f"data.device_resident: '{key}' of all samples takes {needed / 1e9:.1f} GB, but {device} has "
                f"{free / 1e9:.1f} GB free; set data.device_resident=false"
            )
    return torch.empty(shape, dtype=dtype, device=device)
