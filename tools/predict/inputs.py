"""What a command line names: files, labels, a network."""

import argparse
import glob
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import check_file

if TYPE_CHECKING:
    import numpy as np

    from pointrecon.model import ShapeModel

log = logging.getLogger("pointrecon.predict")
DRAWN_POINTS = 1024


def open_model(args: argparse.Namespace) -> "ShapeModel":
    """The network of --ckpt on --device."""
    from pointrecon.encoders import load_model
    from pointrecon.tools.context import find_device

    return load_model(args.ckpt, device=find_device(args.device))


def expand(inputs: Sequence[str]) -> list[str]:
    """The files of a command line: patterns are filled in, - stands for names on standard input.

    Raises:
        InputError: Nothing is given, or a pattern fits nothing.
    """
    names: list[str] = []
    for item in inputs:
        if item == "-":
            names += [line.strip() for line in sys.stdin if line.strip()]
        elif any(sign in item for sign in "*?[") and not Path(item).exists():
            found = sorted(glob.glob(item, recursive=True))
            if not found:
                raise InputError(f"no file fits '{item}'")
            names += found
        else:
            names.append(item)
    if not names:
        raise InputError("no input is given; name files, folders or patterns, or - for names on standard input")
    return names


def clouds_of(ids: Sequence[str], up: str) -> "list[np.ndarray | None]":
    """(N, 3) points of files to draw; None of one that cannot be read any more."""
    from pointrecon.shapes import to_clouds

    clouds: list[np.ndarray | None] = []
    for name in ids:
        try:
            clouds.append(to_clouds(name, num_points=DRAWN_POINTS, up=up).points[0])
        except InputError:
            clouds.append(None)
    return clouds


def read_labels(text: str) -> list[str]:
    """Names between commas, or the lines of a text file.

    Raises:
        InputError: There is none, or the file is no text.
    """
    path = Path(text)
    is_file = len(text) < 1000 and "\0" not in text and path.exists() and not path.is_dir()
    if is_file:
        check_file(path, "file of --labels")
    try:
        parts = path.read_text(encoding="utf-8-sig").splitlines() if is_file else text.split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--labels '{text}' is no UTF-8 text ({error}); give a text file with a label a line"
        ) from error
    labels = [part.strip() for part in parts if part.strip()]
    if not labels:
        raise InputError(f"--labels '{text}' names no label; give --labels chair,table or a text file")
    return labels


def report_skipped(skipped: Mapping[str, str], num_read: int) -> int:
    """Names each file that was skipped; returns the exit code."""
    for name, why in skipped.items():
        log.warning(f"skipped '{name}': {why}")
    if skipped:
        log.warning(f"{num_read} read, {len(skipped)} skipped")
    return 1 if skipped else 0
