"""The network as a step calls it: distributed, compiled, with blocks that are computed again."""

import contextlib
import functools
import importlib
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pointrecon.models.patches.sync_norm import synchronize_norms
from pointrecon.tools.context import RunContext
from pointrecon.tools.settings import Settings
from pointrecon.utils.errors import InputError
from pointrecon.utils.processes import distributed


class Staged(nn.Module):
    """A network whose methods are called as it is itself, so that what hangs on its forward pass follows them too.

    Args:
        model: the network.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Any, stage: str = "forward", **options: Any) -> Any:
        """What the method called `stage` returns."""
        return getattr(self.model, stage)(*inputs, **options)


def wrap(model: nn.Module, cfg: Settings, ctx: RunContext) -> nn.Module:
    """The compiled or distributed version of a model; its parameters are the model's own."""
    network: Any = model
    if cfg["checkpoint_blocks"]:
        checkpoint_blocks(model)
    if cfg["sync_bn"] and ctx.world_size > 1:
        network = synchronize_norms(network)
    if cfg["accum_cached"]:
        distributed.copy_from_main([*model.parameters(), *model.buffers()])
        return Staged(network)  # gradients are averaged once a step, see `CachedPasses`
    if ctx.world_size > 1:
        devices = [ctx.device.index] if ctx.device.type == "cuda" else None
        # With the contrastive loss or a teacher switched off, some parameters get no gradient.
        network = nn.parallel.DistributedDataParallel(network, device_ids=devices, find_unused_parameters=True)
    if cfg["compile"]:
        keep_backward_as_it_is()
        network = torch.compile(network)
    return network


def shard(model: nn.Module, cfg: Settings, ctx: RunContext) -> nn.Module:
    """Shares a network's parameters out among the processes, block by block (FSDP2); changed in place.

    Args:
        model: with the weights of the main process, on the device.
        cfg: the whole config.
        ctx: the run's surroundings.

    Returns:
        The network as it is called. Parameters without dimensions, which cannot be shared out, stay whole.

    Raises:
        InputError: this torch has no `fully_shard`.
    """
    try:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
    except ImportError as error:
        raise InputError(
            f"parallel is fsdp, but torch {torch.__version__} has no fully_shard; install torch 2.6 or newer, or set "
            "parallel=ddp"
        ) from error
    if cfg["sync_bn"]:
        synchronize_norms(model)
    if cfg["checkpoint_blocks"]:
        checkpoint_blocks(model)
    mesh = init_device_mesh(ctx.device.type, (ctx.world_size,))
    scalars = {parameter for parameter in model.parameters() if not parameter.dim()}
    if scalars and "ignored_params" not in inspect.signature(fully_shard).parameters:
        raise InputError(
            f"parallel is fsdp and a temperature is learnt, but torch {torch.__version__} can share out no single "
            "number; install a newer one, or set parallel=ddp"
        )
    options: dict[str, Any] = {"mesh": mesh, **({"ignored_params": scalars} if scalars else {})}
    for block in blocks_of(model):
        if cfg["compile"]:
            keep_backward_as_it_is()
            block.compile()
        fully_shard(block, **options)
    network = Staged(model)
    fully_shard(network, **options)
    return network


def blocks_of(model: nn.Module) -> Iterator[nn.Module]:
    """The transformer blocks of a network: what is in a list called `blocks`."""
    for name, module in model.named_modules():
        if name.split(".")[-1] == "blocks" and isinstance(module, nn.ModuleList):
            yield from module


def checkpoint_blocks(model: nn.Module) -> None:
    """Has each block forget what it computes on the way, and compute it again for the backward pass.

    What is drawn in a block is drawn again alike (torch's own checkpointing).
    """
    for block in blocks_of(model):
        forward = block.forward
        block.forward = functools.partial(_forward_again, block, forward)


def _forward_again(block: nn.Module, forward: Any, *inputs: Any, **options: Any) -> Any:
    if not (block.training and torch.is_grad_enabled()):
        return forward(*inputs, **options)
    return checkpoint(forward, *inputs, use_reentrant=False, **options)


def keep_backward_as_it_is() -> None:
    """Has a compiled backward pass take the precisions that its forward pass took, as the eager one does.

    The compiler would trace it under the autocast that is around the call, and turn to bf16 what was kept in float32.
    Versions of torch without this setting do so.
    """
    config: Any = importlib.import_module("torch._functorch.config")
    if hasattr(config, "backward_pass_autocast"):
        config.backward_pass_autocast = "off"


def no_sync(network: Any) -> contextlib.AbstractContextManager:
    """Holds back the exchange of gradients inside the block, where there is one that can be held back."""
    return getattr(network, "no_sync", contextlib.nullcontext)()
