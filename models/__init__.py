"""Networks and losses. Classes register in MODELS; modules are imported when a name is looked up."""

from pointrecon.utils.registry import Registry

MODELS = Registry("model", "pointrecon.models", rooms=("reconpp",))
