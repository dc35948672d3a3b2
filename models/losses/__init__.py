"""Losses. Those that compare a query with a teacher register in DISTILLATIONS."""

from pointrecon.utils.registry import Registry

DISTILLATIONS = Registry("loss", "pointrecon.models.losses")
