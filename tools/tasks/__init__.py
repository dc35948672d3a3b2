"""What a run does. Classes register in TASKS; modules are imported when a name is looked up."""

from pointrecon.utils.registry import Registry

TASKS = Registry("task", "pointrecon.tools.tasks")
