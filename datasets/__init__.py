"""Data sets. Classes register in DATASETS; modules are imported when a name is looked up, so this file stays light."""

from pointrecon.utils.registry import Registry

DATASETS = Registry("data set", "pointrecon.datasets", ("sets", "modelnet", "shapenetpart", "shards", "folder", "open"))
