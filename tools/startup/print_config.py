"""What `python main.py --print-config` writes: the resolved config, and where each value comes from."""

from collections.abc import Mapping
from typing import Any

from pointrecon.utils.config import Resolved, to_plain
from pointrecon.utils.yaml_text import dump

MAX_COLUMN = 60


def describe(resolved: Resolved) -> str:
    """Writes a config as YAML that is itself a config; values that are no defaults say who set them.

    Args:
        resolved: The config with its origins.

    Returns:
        Lines, without a line end after the last one.
    """
    return "\n".join(_lines(resolved.cfg, resolved.origins, "", ""))


def _lines(section: Mapping[str, Any], origins: Mapping[str, str], prefix: str, indent: str) -> list[str]:
    lines = []
    for key, value in section.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{key}:", *_lines(value, origins, f"{path}.", f"{indent}  ")]
            continue
        *earlier, last = (f"{indent}{line}" for line in _entry(key, to_plain(value)))
        origin = origins.get(path)
        lines += [*earlier, f"{last:<{MAX_COLUMN}}  # {origin}" if origin else last]
    return lines


def _entry(key: str, value: Any) -> list[str]:
    if isinstance(value, list) and not any(isinstance(item, (list, dict)) for item in value):
        items = [dump(item).removesuffix("...\n").strip() for item in value]
        return [f"{key}: [{', '.join(items)}]"]
    return dump({key: value}).rstrip("\n").split("\n")
