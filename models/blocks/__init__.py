"""Blocks of the encoder. Classes register in BLOCKS; modules are imported when a name is looked up."""

from pointrecon.utils.registry import Registry

BLOCKS = Registry("block", "pointrecon.models.blocks")
