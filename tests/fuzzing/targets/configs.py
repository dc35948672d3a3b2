"""What is fuzzed of configs: a file with bases and overrides."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pointrecon.utils.config import flatten, load_config, save_config, to_plain
from pointrecon.utils.errors import InputError
from tests.fuzzing.forms import Form, WrongResult
from tests.fuzzing.mutations import TOKENS, spoil_bytes, spoil_text, spoil_tree

LEAF = """_base_: [middle.yaml, other.yaml]
epochs: 3
model: {embed_dim: 96, depth: 4}  # a comment
optim:
  lr: 1e-3
  betas: [0.9, 0.95]
data:
  type: SweetHome3D
  options: {a: [1, {b: text}], c: null}
teachers: {image: null}
evaluators:
  svm: {splits: [train, test]}
"""
MIDDLE = "_base_: bottom.yaml\nbatch_size: 16\nloss:\n  chamfer:\n    weight: 2\n"
OVERRIDES = ["optim.lr=2e-4", "model.depth=3", "data.options={x: [1, 2]}", "init=null"]
OPEN_SECTIONS = ("loss.", "teachers.", "evaluators.")  # these take further entries of any name
LEAVES = (
    None,
    True,
    -1,
    10**400,
    0.5,
    float("nan"),
    "",
    "1e-4",
    "2001-01-01",
    "a: b",
    "\x85",
    [],
    {},
    [[]],
    {"get": 1},
)


def write_config(folder: Path) -> None:
    """A leaf, its bases, and overrides one a line."""
    texts = {"leaf": LEAF, "middle": MIDDLE, "other": "seed: 5\n", "bottom": "num_workers: 1\n"}
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    (folder / "overrides.json").write_text(json.dumps(OVERRIDES))


def spoil_config(path: Path, rng: random.Random) -> None:
    """Changes words, values or bytes."""
    kind, data = rng.random(), path.read_bytes()
    if path.suffix == ".json":
        overrides = json.loads(data)
        place = rng.randrange(len(overrides))
        overrides[place] = rng.choice(
            (spoil_text(overrides[place], rng), rng.choice(TOKENS), "model.depth=" + rng.choice(TOKENS))
        )
        path.write_text(json.dumps(overrides))
    elif kind < 0.3:
        path.write_bytes(spoil_bytes(data, rng))
    elif kind < 0.7:
        path.write_text(spoil_text(data.decode(), rng), encoding="utf-8", errors="surrogatepass")
    else:
        tree = spoil_tree(yaml.safe_load(data), rng, lambda value, rng: rng.choice(LEAVES))
        path.write_text(yaml.safe_dump(tree, allow_unicode=rng.random() < 0.5))


def read_config(folder: Path) -> None:
    """Loads the config; what it gives has every key with its type, and comes back from a file."""
    overrides = [text for text in json.loads((folder / "overrides.json").read_text()) if isinstance(text, str)]
    cfg = load_config(folder / "leaf.yaml", overrides)
    (folder / "empty.yaml").write_text("")
    _check_section(cfg, load_config(folder / "empty.yaml"), "")
    flatten(cfg)
    try:
        save_config(cfg, folder / "saved.yaml")
        again = load_config(folder / "saved.yaml")
    except InputError as error:
        raise WrongResult(f"the saved config does not load: {error}") from error
    if repr(to_plain(again)) != repr(to_plain(cfg)):
        raise WrongResult("the saved config is another one")
    json.dumps(to_plain(cfg))


def _check_section(cfg: Mapping, defaults: Mapping, prefix: str) -> None:
    given = [key for key in cfg if key in defaults] if prefix in OPEN_SECTIONS else list(cfg)
    if given != list(defaults):
        raise WrongResult(f"section '{prefix}' has the keys {list(cfg)}")
    for key, default in defaults.items():
        value: Any = cfg[key]
        if isinstance(default, Mapping) and default:
            if isinstance(value, Mapping):
                _check_section(value, default, f"{prefix}{key}.")
            elif value is not None:
                raise WrongResult(f"'{prefix}{key}' is no section")
        elif default is not None and not isinstance(value, Mapping) and type(value) is not type(default):
            raise WrongResult(f"'{prefix}{key}' is {type(value).__name__}")


FORMS = (Form("config", write_config, read_config, spoil_config),)
