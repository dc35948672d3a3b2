"""What a run does. Classes register in TASKS; modules are imported when a name is looked up."""

from utils.registry import Registry

TASKS = Registry("task", "tools.tasks")
