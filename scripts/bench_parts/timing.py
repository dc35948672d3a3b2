"""Where the time of a training step goes, by part of the step and by operation, and what the machine could do.

Parts are timed in steps of their own, since on a GPU the host has to wait for the device at each border.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from pointrecon.tools.training.passes import Passes

GEMM_SIZE = {"cpu": 2048, "cuda": 8192}
LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch")


class PartTimer:
    """Adds up the seconds of parts; a part inside another one is not counted in that one.

    Args:
        device: waited for at the borders of the parts.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self._open: list[list] = []  # [name, start, seconds of the parts inside]

    def begin(self, name: str) -> None:
        """A part begins."""
        self._open.append([name, self._now(), 0.0])

    def end(self) -> None:
        """The part that began last ends."""
        now = self._now()
        name, start, inside = self._open.pop()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - start - inside
        if self._open:
            self._open[-1][2] += now - start

    def wrap(self, name: str, function: Callable) -> Callable:
        """The function as a part."""

        def timed(*args: Any, **options: Any) -> Any:
            self.begin(name)
            try:
                return function(*args, **options)
            finally:
                self.end()

        return timed

    def hook(self, name: str, module: nn.Module) -> list[Any]:
        """The forward pass of a module as a part; returns what takes this back with `remove()`."""
        return [
            module.register_forward_pre_hook(lambda *_: self.begin(name)),
            module.register_forward_hook(lambda *_: self.end()),
        ]

    def _now(self) -> float:
        wait_for(self.device)
        return time.perf_counter()


@contextmanager
def timed_parts(runner: Any) -> Iterator[PartTimer]:
    """Inside the block, the parts of a runner's steps are timed."""
    task = runner.task
    timer = PartTimer(runner.ctx.device)
    network, handles = task.network, []
    task.network = task.model  # a compiled network cannot be cut into parts, nor can a recording
    passes = getattr(runner, "passes", None)
    if passes is not None:
        runner.passes = Passes(task, passes.autocast)
    encoder = getattr(task.model, "encoder", None)
    for name, module in (
        ("patches", getattr(encoder, "group", None)),
        ("patch embedding", getattr(encoder, "patch_embed", None)),
        ("decoder", getattr(task.model, "decoder", None)),
    ):
        handles += timer.hook(name, module) if isinstance(module, nn.Module) else []
    for block in getattr(encoder, "blocks", ()):
        handles += timer.hook("encoder blocks", block)
    replaced = [
        (runner, "read_batches", "data"),
        (runner, "step_optimizer", "optimizer"),
        (task, "training_step", "losses and rest of forward"),
        (task, "transform", "augmentation"),
    ]
    replaced += [(task.teachers, "draw", "teachers")] if hasattr(task, "teachers") else []
    originals = [(owner, name, getattr(owner, name), name in vars(owner)) for owner, name, _ in replaced]
    for owner, name, part in replaced:
        setattr(owner, name, timer.wrap(part, getattr(owner, name)))
    try:
        yield timer
    finally:
        for owner, name, original, is_own in originals:
            setattr(owner, name, original) if is_own else delattr(owner, name)
        for handle in handles:
            handle.remove()
        task.network = network
        if passes is not None:
            runner.passes = passes


def largest_costs(step: Callable[[], None], device: torch.device, num_steps: int, count: int = 3) -> dict[str, Any]:
    """The operations that take most time by themselves, and how many kernels a step launches on a GPU.

    Args:
        step: runs one step.
        device: whose time counts.
        num_steps: steps that are looked at.
        count: operations that are named.
    """
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    is_cuda = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_cuda else [])]) as profiler:
        for _ in range(num_steps):
            step()
        wait_for(device)
    events = profiler.key_averages()
    # The call of an operation and its kernels are separate rows, and both carry the kernels' time.
    timed = [e for e in events if e.device_type == DeviceType.CUDA and not e.is_user_annotation] if is_cuda else events
    own = [(e.key, e.self_device_time_total if is_cuda else e.self_cpu_time_total) for e in timed]
    total = sum(time_us for _, time_us in own) or 1
    largest = sorted(own, key=lambda pair: -pair[1])[:count]
    costs = [{"operation": key, "share": round(time_us / total, 4)} for key, time_us in largest]
    launches = sum(e.count for e in events if e.key.startswith(LAUNCHES))
    return {"largest_costs": costs, "kernel_launches": launches / num_steps if is_cuda else None}


def wait_for(device: torch.device) -> None:
    """Returns when the device has done what was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def gemm_gflops(device: torch.device, precision: str) -> float:
    """GFLOP/s of one large square matrix product in the precision that the network computes in."""
    size = GEMM_SIZE.get(device.type, 2048)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(2, size, size, device=device, dtype=dtype)
    out = torch.empty_like(a)
    times = []
    for _ in range(5):
        wait_for(device)
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        wait_for(device)
        times.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(times[1:]) / 1e9
