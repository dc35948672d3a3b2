"""Encoding for evaluation: what every task with an encoder hands to its evaluators."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pointrecon.datasets.transforms import PointTransform
from pointrecon.tools.evaluators import EVALUATORS
from pointrecon.tools.evaluators.base import Embedding, Encode


def make_encode(model: nn.Module, transform: PointTransform, device: torch.device) -> Encode:
    """A function from clouds as they are stored to embeddings on the CPU, in evaluation mode and without gradients."""

    @torch.inference_mode()
    def encode(points: Tensor) -> Embedding:
        was_training = model.training
        model.eval()
        queries, tokens = model.encoder.embed(transform(points.to(device)))
        image, text = model.project(queries) if hasattr(model, "project") else (None, None)
        model.train(was_training)
        return Embedding(*(None if x is None else x.float().cpu() for x in (queries, tokens, image, text)))

    return encode


def build_evaluators(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The section `evaluators`: name -> options; an option `type` lets one evaluator run under several names."""
    return {
        name: EVALUATORS.build({"type": name, **(options or {})}, cfg=cfg)
        for name, options in cfg["evaluators"].items()
    }


def run_evaluators(evaluators: Mapping[str, Any], encode: Encode, ctx: Any) -> dict[str, Any]:
    """Metrics of all evaluators, each under `<name>_<metric>`."""
    results = {}
    for name, evaluator in evaluators.items():
        metrics = evaluator.run(encode, ctx)
        results |= {f"{name}_{metric}": value for metric, value in metrics.items()}
    return results
