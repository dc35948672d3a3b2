"""Frozen teachers. Classes register in TEACHERS; modules are imported when a name is looked up."""

from utils.registry import Registry

TEACHERS = Registry("teacher", "models.teachers")
