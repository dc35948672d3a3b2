"""Optimizer, parameter groups and learning-rate schedules."""

import math
from typing import Any

import torch
from torch import nn

from pointrecon.models.encoder import PointEncoder
from pointrecon.tools.settings import OptimSettings
from pointrecon.utils.errors import InputError


def make_optimizer(model: nn.Module, options: OptimSettings, *, decays_head: bool = False) -> torch.optim.Optimizer:
    """AdamW over the published parameter groups.

    Args:
        model: parameters that need no gradient are left out; those under `head.` form groups of their own.
        options: the section `optim`.
        decays_head: the published code's head group: see `parameter_groups`.

    Raises:
        InputError: nothing is left to train.
    """
    groups = parameter_groups(model, options, decays_head=decays_head)
    if not groups:
        raise InputError("nothing is left to train; set classifier.freeze=none or epochs=0")
    is_fused = all(parameter.device.type in ("cpu", "cuda") for group in groups for parameter in group["params"])
    first, second = options["betas"]
    return torch.optim.AdamW(groups, lr=options["lr"], betas=(first, second), fused=is_fused)


def parameter_groups(model: nn.Module, options: OptimSettings, *, decays_head: bool = False) -> list[dict[str, Any]]:
    """Groups with their weight decay and `lr_scale`.

    No decay on vectors (biases, norms) and tokens. The head learns at `head_lr_scale` times the rate, and each block of
    the encoder `layer_decay` times as fast as the one after it. With `decays_head` all of the head decays, its biases
    and norms too.
    """
    depth = len(getattr(getattr(model, "encoder", None), "blocks", ()))
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        # parity: published runs decay the queries' positions and not the tokens.
        is_head = name.startswith(getattr(model, "head_prefixes", ("head.",)))
        has_decay = (parameter.dim() > 1 and "token" not in name) or (decays_head and is_head)
        scale = options["head_lr_scale"] if is_head else 1.0
        scale *= 1.0 if is_head else options["layer_decay"] ** (depth - _num_blocks_before(name, depth))
        decay = options["weight_decay"] if has_decay else 0.0
        group = groups.setdefault((scale, decay), {"params": [], "lr_scale": scale, "weight_decay": decay})
        group["params"].append(parameter)
    return list(groups.values())


def move_cls_with_head(
    optimizer: torch.optim.Optimizer, encoder: PointEncoder, options: OptimSettings, *, is_frozen: bool
) -> None:
    """Lets the cls query and its position learn as parts of the head, as the published code does by its group's name.

    They are the first row of tensors that hold the image and the text query too, so the optimizer cannot tell them
    apart: after each step, what the row has moved is scaled to the head's rate. AdamW's step is linear in the rate.

    Args:
        optimizer: of `make_optimizer`.
        encoder: has the queries.
        options: the section `optim`.
        is_frozen: the other rows stay as they are.
    """
    queries = [encoder.query_tokens, encoder.query_positions]
    group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    before: list[torch.Tensor] = []

    def remember(*_: object) -> None:
        before[:] = [query.detach().clone() for query in queries]

    @torch.no_grad()
    def correct(*_: object) -> None:
        for query, old in zip(queries, before, strict=True):
            group = group_of[id(query)]
            # What of the decay the optimizer has not done by itself: tokens are in a group without any.
            missing = (options["weight_decay"] - group["weight_decay"]) * group["lr"] * old[:, :1]
            query[:, :1] = old[:, :1] + options["head_lr_scale"] * (query[:, :1] - old[:, :1] - missing)
            if is_frozen:
                query[:, 1:] = old[:, 1:]

    optimizer.register_step_pre_hook(remember)
    optimizer.register_step_post_hook(correct)


def _num_blocks_before(name: str, depth: int) -> int:
    """0 for embeddings and the first block's inputs, i + 1 for block i, `depth` for all that comes after the blocks."""
    parts = name.replace("contrast_tower.", "").split(".")  # the blocks of two towers stand side by side
    if parts[:2] == ["encoder", "blocks"]:
        return int(parts[2]) + 1
    is_embedding = parts[0] == "encoder" and parts[1] != "norm"
    return 0 if is_embedding else depth


class CosineSchedule:
    """Linear warm-up from warmup_lr to lr, then a half cosine down to min_lr; a function of the step alone.

    Args:
        options: the section `optim`.
        steps_per_epoch: optimizer steps an epoch.
        epochs: length of the run.
    """

    def __init__(self, options: OptimSettings, steps_per_epoch: int, epochs: int) -> None:
        self.options = options
        self.steps_per_epoch = steps_per_epoch
        self.warmup_steps = min(options["warmup_epochs"], epochs) * steps_per_epoch
        self.total_steps = epochs * steps_per_epoch

    def lr(self, step: int) -> float:
        """The learning rate of optimizer step `step`, counted from 0."""
        peak, floor, start = self.options["lr"], self.options["min_lr"], self.options["warmup_lr"]
        if step < self.warmup_steps:
            return start + (peak - start) * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        return floor + (peak - floor) * (1 + math.cos(math.pi * min(1.0, progress))) / 2

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> float:
        """Sets the rate of every group and returns the one before the groups' scales."""
        rate = self.lr(step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        return rate


class PublishedSchedule(CosineSchedule):
    """The published schedule: one rate an epoch, an epoch late, and one epoch more than the cosine is long.

    It is set after each epoch for the epoch before, so the first two run at warmup_lr; the cosine starts at epoch 0,
    with the warm-up laid over its beginning (timm's CosineLRScheduler without warm-up prefix).

    Args:
        options: the section `optim`.
        steps_per_epoch: optimizer steps an epoch.
        epochs: length of the run, the extra epoch included.
    """

    def __init__(self, options: OptimSettings, steps_per_epoch: int, epochs: int) -> None:
        super().__init__(options, steps_per_epoch, epochs)
        self.length = max(1, epochs - 1)

    def lr(self, step: int) -> float:
        """The learning rate of optimizer step `step`, counted from 0."""
        peak, floor, start = self.options["lr"], self.options["min_lr"], self.options["warmup_lr"]
        epoch, warmup = max(0, step // self.steps_per_epoch - 1), self.options["warmup_epochs"]
        if epoch < warmup:
            return start + (peak - start) * epoch / warmup
        return floor + (peak - floor) * (1 + math.cos(math.pi * min(1.0, epoch / self.length))) / 2
