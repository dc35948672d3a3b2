"""A training set that lies on the device as a whole: batches are picked there, and nothing is loaded in a step."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pointrecon.datasets.loader import ShardSampler
from pointrecon.utils.errors import InputError

_READ_AT_ONCE = 64


class ResidentLoader:
    """Stands in for the `DataLoader` of `datasets.loader.train_loader`: the same samples in the same order.

    Points are kept in half precision, which moves one of the unit sphere by up to 1/4096. Other tensors keep theirs.

    Args:
        loader: what it stands in for.
        device: where the samples go.
        progress: wraps the reading, for a progress bar.

    Attributes:
        dataset: what was read.
        batch_size: shapes in a whole batch.
        sampler: says the order; its `epoch` and `skip` are read when an epoch begins.
        num_bytes: what the tensors take.

    Raises:
        InputError: a sample is another one each time it is read, clouds differ in size, or the device has no room.
    """

    def __init__(
        self,
        loader: DataLoader,
        device: torch.device,
        progress: Callable[[Iterable, str], Iterable] = lambda items, what: items,
    ) -> None:
        if type(loader.sampler) is not ShardSampler:
            raise InputError(
                "data.device_resident: the samples of this data set are not the same ones in each "
                "epoch; set data.device_resident=false"
            )
        self.dataset, self.batch_size, self.sampler = loader.dataset, loader.batch_size, loader.sampler
        self._length, self._drop_last = len(loader), loader.drop_last
        self._device = device
        self._tensors, self._texts = _read(loader.dataset, loader.num_workers, device, progress)
        self.num_bytes = sum(tensor.nbytes for tensor in self._tensors.values())

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[dict[str, Any]]:
        order = np.fromiter(self.sampler, dtype=np.int64)
        on_device = torch.from_numpy(order).to(self._device)
        for first in range(0, len(order), self.batch_size):
            rows = on_device[first : first + self.batch_size]
            if len(rows) < self.batch_size and self._drop_last:
                return
            batch: dict[str, Any] = {key: tensor.index_select(0, rows) for key, tensor in self._tensors.items()}
            batch["points"] = batch["points"].float()
            own = order[first : first + self.batch_size]
            yield batch | {key: texts[own].tolist() for key, texts in self._texts.items()}


def _read(
    dataset: Dataset, num_workers: int, device: torch.device, progress: Callable[[Iterable, str], Iterable]
) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
    """All samples: tensors (n, ...) on the device, and texts (n,)."""
    tensors: dict[str, Tensor] = {}
    texts: dict[str, list[str]] = {}
    done = 0
    try:
        for batch in progress(DataLoader(dataset, _READ_AT_ONCE, num_workers=num_workers), "onto the device"):
            count = len(batch["points"])
            for key, values in batch.items():
                if not isinstance(values, Tensor):
                    texts.setdefault(key, []).extend(values)
                    continue
                values = values.half() if key == "points" else values
                if key not in tensors:
                    tensors[key] = _room(key, (len(dataset), *values.shape[1:]), values.dtype, device)
                tensors[key][done : done + count] = values.to(device)
            done += count
    except RuntimeError as error:  # collating clouds of several sizes
        if "equal size" not in str(error):
            raise
        raise InputError(
            f"data.device_resident: the samples of {type(dataset).__name__} differ in size, so they make no table; set "
            "data.device_resident=false"
        ) from error
    return tensors, {key: np.array(values) for key, values in texts.items()}


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
