"""What has been made of each mesh so far, kept in <out>/work: results, failures, lists of what a package has.

A result's place depends on the recipe, the package's version and the mesh alone, so that no run takes what another
recipe or version has made.
"""

import dataclasses
import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pointrecon.tools.debshapes.shape import RECIPE
from pointrecon.tools.debshapes.sources.sources import Item
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import describe_write_fault, read_json, write_fault, write_json
from pointrecon.utils.processes.pool import Failure

TIME_LIMIT = "time limit"
PASSING = ("crash", "out of memory")  # may come of the machine and not of the mesh: tried again by the next run


@dataclass(frozen=True)
class Work:
    """The folder of intermediate files.

    Attributes:
        out: Folder of the finished data set; this one is in it.
        limit: At most this many meshes a package; None: all.
        time_limit: Seconds that one mesh may take.
    """

    out: Path
    limit: int | None
    time_limit: float

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self.out / "work"

    def listing(self, package: str, part: int | None) -> Path:
        """The file that says what a package, or a part of it, has."""
        return self.folder / "lists" / (f"{package}.json" if part is None else f"{package}-{part}.json")

    def read_list(self, path: Path, version: str | None) -> list[Item] | None:
        """Returns what a run before has listed; None without it, with another limit, or of another version.

        Args:
            path: See `listing`.
            version: Of the package that is there now; None: of whatever version.
        """
        try:
            listing = read_json(path)
            if listing["limit"] != self.limit:
                return None
            items = [Item(**{**values, "hints": tuple(values["hints"])}) for values in listing["items"]]
        except (InputError, KeyError, TypeError, ValueError):
            return None
        return None if version is not None and any(item.version != version for item in items) else items

    def write_list(self, path: Path, items: Sequence[Item]) -> None:
        """Keeps a list for the next run."""
        write_json({"limit": self.limit, "items": [dataclasses.asdict(item) for item in items]}, path)

    def place(self, item: Item, suffix: str) -> Path:
        """Where the result of a mesh is kept; its name is a hash, so no name in a package leads anywhere else."""
        name = hashlib.sha256(f"{RECIPE}|{item.version}|{item.id}".encode()).hexdigest()[:32]
        return self.folder / "items" / name[:2] / (name + suffix)

    def missing(self, items: Iterable[Item]) -> list[Item]:
        """Those without a whole result and without a failure that would come again."""
        return [item for item in items if not (self._has_shape(item) or self._has_failed(item))]

    def store(self, item: Item, result: bytes | Failure) -> None:
        """Keeps a result, whole or not at all.

        Not forced to the disk one by one, which would take longer than the mesh: what a power cut leaves is found by
        `missing`.

        Raises:
            InputError: It cannot be written.
        """
        is_failure = isinstance(result, Failure)
        if isinstance(result, bytes):
            data = result
        else:
            facts = {"id": item.id, "time_limit": self.time_limit, **dataclasses.asdict(result)}
            data = json.dumps(facts).encode()
        path = self.place(item, ".json" if is_failure else ".npz")
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            os.replace(temporary, path)
            if not is_failure:
                self.place(item, ".json").unlink(missing_ok=True)
        except OSError as error:
            reason = describe_write_fault(write_fault(error) or error, self.out)
            raise InputError(f"cannot write '{path}': {reason}") from error

    def failure(self, item: Item) -> str | None:
        """Why nothing was made of a mesh; None if something was."""
        return None if self._has_shape(item) else self._read_failure(item).get("cause")

    def _has_shape(self, item: Item) -> bool:
        try:
            return zipfile.is_zipfile(self.place(item, ".npz"))  # looks for the end, which a file cut off has not
        except OSError:
            return False

    def _has_failed(self, item: Item) -> bool:
        facts = self._read_failure(item)
        cause = facts.get("cause")
        if cause == TIME_LIMIT:
            return facts.get("time_limit", 0.0) >= self.time_limit
        return cause is not None and cause not in PASSING

    def _read_failure(self, item: Item) -> dict:
        try:
            facts = read_json(self.place(item, ".json"))
        except InputError:  # not there, or cut off
            return {}
        return facts if isinstance(facts, dict) and isinstance(facts.get("cause"), str) else {}
