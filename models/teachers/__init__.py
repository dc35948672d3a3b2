"""Frozen teachers. Classes register in TEACHERS; modules are imported when a name is looked up."""

from pointrecon.utils.registry import Registry

TEACHERS = Registry("teacher", "pointrecon.models.teachers")
