"""Optimizer, parameter groups and learning-rate schedule."""

import math
from collections.abc import Mapping

import torch
from torch import nn

from utils.errors import InputError, check_choice


def make_optimizer(model: nn.Module, options: Mapping) -> torch.optim.Optimizer:
    """AdamW over the published parameter groups.

    Args:
        model: parameters that need no gradient are left out; those under `head.` form groups of their own.
        options: the section `optim`.

    Raises:
        InputError: an optimizer that is not AdamW, or nothing to train.
    """
    check_choice("optim.type", options["type"], ("AdamW",))
    groups = parameter_groups(model, options)
    if not groups:
        raise InputError("nothing is left to train; set classifier.freeze=none or epochs=0")
    is_fused = all(parameter.device.type in ("cpu", "cuda") for group in groups for parameter in group["params"])
    return torch.optim.AdamW(groups, lr=options["lr"], betas=tuple(options["betas"]), fused=is_fused)


def parameter_groups(model: nn.Module, options: Mapping) -> list[dict]:
    """Groups with their weight decay and `lr_scale`.

    No decay on vectors (biases, norms) and tokens. The head learns at `head_lr_scale` times the rate, and each block of
    the encoder `layer_decay` times as fast as the one after it.
    """
    depth = len(getattr(getattr(model, "encoder", None), "blocks", ()))
    groups: dict[tuple[float, float], dict] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        # parity: published runs decay the queries' positions and not the tokens.
        has_decay = parameter.dim() > 1 and "token" not in name
        scale = options["head_lr_scale"] if name.startswith("head.") else 1.0
        scale *= options["layer_decay"] ** (depth - _num_blocks_before(name, depth))
        decay = options["weight_decay"] if has_decay else 0.0
        group = groups.setdefault((scale, decay), {"params": [], "lr_scale": scale, "weight_decay": decay})
        group["params"].append(parameter)
    return list(groups.values())


def _num_blocks_before(name: str, depth: int) -> int:
    """0 for embeddings and the first block's inputs, i + 1 for block i, `depth` for all that comes after the blocks."""
    parts = name.split(".")
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

    def __init__(self, options: Mapping, steps_per_epoch: int, epochs: int) -> None:
        self.options = options
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
