"""OpenShape's lists and flags, too long to be parsed as a whole: JSON files that are read member by member.

Shape legend: n objects of the shards, m objects of a list.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pointrecon.datasets.open.clouds import inner_path
from pointrecon.datasets.open.shards import key_of
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import check_file

PIECE = 1 << 20  # characters that are read at once
MAX_MEMBER = 1 << 20  # of a member
_SPACE = " \t\r\n"


def members(path: Path) -> Iterator[Any]:
    """The members of a JSON list, or the (key, value) pairs of a JSON dict, one at a time.

    Raises:
        InputError: The file is missing, damaged or neither.
    """
    check_file(path, "JSON file")
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from _Reader(file).members()
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"'{path}' is no whole JSON list or dict ({error}); download it again") from error


def listed_keys(path: Path) -> np.ndarray:
    """(m,) bytes: the objects of a list, by `key_of`.

    Raises:
        InputError: An entry has neither `dataset` and `id` nor a `data_path`, or leads out of the data's folder.
    """
    keys = []
    for number, one in enumerate(members(path)):
        if not isinstance(one, dict) or not ("id" in one and "dataset" in one or "data_path" in one):
            raise InputError(
                f"object {number} of '{path}' has no 'dataset' and 'id'; it must be one of OpenShape's lists"
            )
        if "id" in one and "dataset" in one:
            key = key_of(str(one["dataset"]), str(one.get("group") or ""), str(one["id"]))
        else:
            key = str(inner_path(one["data_path"])).removesuffix(".npy")
        keys.append(key.encode())
    if not keys:
        raise InputError(f"'{path}' lists no object")
    return np.array(keys, dtype=np.bytes_)


def find_rows(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(m,) rows of the wanted keys among (n,) keys; -1: not there."""
    order = np.argsort(keys)
    places = order[np.searchsorted(keys, wanted, sorter=order).clip(max=len(keys) - 1)]
    return np.where(keys[places] == wanted, places, -1)


def flagged(path: Path) -> np.ndarray:
    """(k,) bytes, sorted: ids of Objaverse's objects whose name GPT-4 found to say nothing (flag "N").

    Raises:
        InputError: The file is no dict of flags.
    """
    ids = []
    for pair in members(path):
        if not isinstance(pair, tuple) or not isinstance(pair[1], dict):
            raise InputError(f"'{path}' is no dict of flags by id, as OpenShape's meta_data.zip has; download it again")
        if pair[1].get("flag") == "N":
            ids.append(str(pair[0]).encode())
    return np.sort(np.array(ids, dtype=np.bytes_)) if ids else np.zeros(0, "S1")


class _Reader:
    """Takes a JSON text apart at its first level."""

    def __init__(self, file: Any) -> None:
        self.file, self.text, self.place = file, "", 0
        self.decode = json.JSONDecoder().raw_decode

    def members(self) -> Iterator[Any]:
        opening = self.take()
        if opening not in ("[", "{"):
            raise ValueError(f"it begins with '{opening}'")
        closing = {"[": "]", "{": "}"}[opening]
        sign = self.take() if self.peek() == closing else ""
        while sign != closing:
            member = self.value()
            if opening == "{":
                if self.take() != ":":
                    raise ValueError(f"'{member}' has no value")
                member = (member, self.value())
            yield member
            sign = self.take()
            if sign not in (",", closing):
                raise ValueError(f"there is '{sign}' in the place of a comma")
        if self.peek():
            raise ValueError("it goes on behind its end")

    def peek(self) -> str:
        """The next sign that is no space; nothing at the end."""
        while True:
            while self.place < len(self.text) and self.text[self.place] in _SPACE:
                self.place += 1
            if self.place < len(self.text) or not self.more():
                return self.text[self.place : self.place + 1]

    def take(self) -> str:
        sign = self.peek()
        self.place += 1
        return sign

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                found, end = self.decode(self.text, self.place)
            except json.JSONDecodeError:
                if len(self.text) - self.place > MAX_MEMBER or not self.more():
                    raise
                continue
            if end < len(self.text) or not self.more():  # a number may go on in the next piece
                self.place = end
                return found

    def more(self) -> bool:
        piece = self.file.read(PIECE)
        self.text, self.place = self.text[self.place :] + piece, 0
        return bool(piece)
