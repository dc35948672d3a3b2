"""What is measured on an encoder. Classes register in EVALUATORS; modules are imported when a name is looked up."""

from pointrecon.utils.registry import Registry

EVALUATORS = Registry("evaluator", "pointrecon.tools.evaluators")
