"""Data sets. Classes register in DATASETS; modules are imported when a name is looked up, so this file stays light."""

from utils.registry import Registry

DATASETS = Registry("data set", "datasets")
