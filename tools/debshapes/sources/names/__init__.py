"""Tables of names, kept as YAML: what files are called whose names are codes or abbreviations."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml


@cache
def load_table(name: str) -> Any:
    """The content of `<name>.yaml` beside this file."""
    return yaml.safe_load((Path(__file__).parent / f"{name}.yaml").read_text(encoding="utf-8"))
