"""Compares the open encoders with numbers that their published classes computed, kept in a fixture folder.

tests/fixtures/alternatives_tiny/README.md says what such a folder holds.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointrecon.models.open.build import build_from_state
from pointrecon.models.open.encoder import OpenEncoder
from pointrecon.tools.checkpoints.parity import Comparison
from pointrecon.tools.open.files import find_state
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import check_file, read_json
from pointrecon.utils.files.npy import read_npz
from pointrecon.utils.files.weights import read_weights_file

TOLERANCE = 1e-5
SECTIONS = ("uni3d", "openshape", "ulip2")
# A fixture's settings -> ours, those that no weight shows.
SETTINGS = {
    "uni3d": {"heads": "num_heads", "groups": "num_groups", "group_size": "group_size"},
    "ulip2": {"heads": "num_heads", "groups": "num_groups", "group_size": "group_size"},
    "openshape": {"heads": "num_heads", "patches": "num_groups", "samples": "group_size", "radius": "radius"},
}


def is_open_fixture(folder: str | Path) -> bool:
    """Whether a folder's config.json is of this kind."""
    path = Path(folder) / "config.json"
    config = read_json(path) if path.is_file() else None
    return isinstance(config, dict) and any(isinstance(config.get(name), dict) for name in SECTIONS)


def compare_open(folder: str | Path) -> tuple[list[Comparison], list[str]]:
    """Everything that the fixture has.

    Returns:
        The comparisons, and names of results that none of them is about.

    Raises:
        InputError: A file is missing or damaged, or the fixture holds nothing to compare.
    """
    folder = Path(folder)
    config, expected = read_json(folder / "config.json"), _read_expected(folder / "expected.npz")
    results = [name for name in expected if not name.endswith(".points")]
    done = []
    for section in SECTIONS:
        settings = config.get(section)
        if isinstance(settings, dict) and f"{section}.points" in expected:
            done += list(_compare_section(folder, section, settings, expected))
    if not done:
        raise InputError(f"'{folder / 'expected.npz'}' holds nothing to compare (uni3d.*, openshape.*, ulip2.*)")
    names = {comparison.name for comparison in done}
    return done, [name for name in results if name not in names]


def _compare_section(
    folder: Path, section: str, settings: Mapping[str, Any], expected: Mapping[str, np.ndarray]
) -> Iterator[Comparison]:
    changes = {ours: settings[theirs] for theirs, ours in SETTINGS[section].items() if theirs in settings}
    points = torch.from_numpy(expected[f"{section}.points"]).float()
    for name, state in _read_states(folder, section, expected).items():
        try:
            encoder, _ = build_from_state(state, **changes)
        except InputError as error:
            raise InputError(f"'{folder / name}.pth' cannot be used: {error}") from error
        prefix = name.replace("_", ".", 1)
        for part, value in intermediates(encoder, points).items():
            key = f"{prefix}.{part}"
            if key in expected:
                yield Comparison(key, _difference(value, expected[key]), TOLERANCE)


@torch.no_grad()
def intermediates(encoder: OpenEncoder, points: Tensor) -> dict[str, Tensor]:
    """The embedding in float32, and what leads to it in float64, so that our own rounding does not add up."""
    embedding = encoder(points)
    encoder, points = encoder.double(), points.double()
    centers, patches = encoder.patches(points)
    found = {"centres": centers, "patches": patches}
    _, found["tokens"] = encoder.tokenize(points)
    x, positions = encoder.start(centers, found["tokens"])
    for layer, block in enumerate(encoder.blocks):
        x = block(x + positions if encoder.positions == "every" else x)
        found[f"block.{layer}"] = found["transformer"] = x
    found["norm"] = encoder.norm(x)
    found["feature"] = encoder.feature(found["norm"])
    return {**found, "embedding": embedding}


def _read_states(folder: Path, section: str, expected: Mapping[str, np.ndarray]) -> dict[str, Mapping[str, Tensor]]:
    """The weights of each form, by the stem of its file; patch embeddings that one form alone keeps go to all."""
    stems = [section]
    if section == "uni3d":
        forms = {name.split(".")[1] for name in expected if name.startswith("uni3d.")} - {"points"}
        stems = sorted(f"uni3d_{form}" for form in forms)
    states: dict[str, Mapping[str, Tensor]] = {}
    for stem in stems:
        state = find_state(read_weights_file(folder / f"{stem}.pth"))
        if state is None:
            raise InputError(f"'{folder / stem}.pth' holds no weights of Uni3D, OpenShape-PointBERT or ULIP-2")
        states[stem] = state
    shared = {key: x for state in states.values() for key, x in state.items() if "point_encoder.encoder." in key}
    return {stem: {**shared, **state} for stem, state in states.items()}


def _read_expected(path: Path) -> dict[str, np.ndarray]:
    path = check_file(path, "file of expected values")
    try:
        return read_npz(path)
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' ({path.stat().st_size:,} bytes) is no complete .npz file: {error}") from error


def _difference(ours: Tensor, expected: np.ndarray) -> float:
    if tuple(ours.shape) != expected.shape:
        return float("inf")
    return float(np.abs(ours.double().numpy() - expected.astype(np.float64)).max())
