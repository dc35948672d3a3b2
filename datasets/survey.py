"""What --check-data says about a data set: is it there, is it whole, where does it come from, what is where."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

THERE, MISSING, WRONG = "there", "missing", "wrong"
MAX_NAMES = 20  # of the missing files of one kind that are listed


@dataclass(frozen=True)
class Entry:
    """A file of a data set, or many of one kind.

    Attributes:
        name: Of the file as seen from the data set's folder, or of the kind: "<class>/<object>.txt".
        state: `there`, `missing` or `wrong`: it is there, but too short or damaged.
        note: What else is known, such as how many there are.
        is_needed: The data set is not whole without it.
        lacking: What of many is missing or wrong, each with the reason.
    """

    name: str
    state: str
    note: str = ""
    is_needed: bool = True
    lacking: Sequence[str] = ()


@dataclass(frozen=True)
class Survey:
    """The state of one data set on this machine.

    A data set that can be downloaded has a static method `survey(root: str) -> list[Survey]`: one entry a variant
    (ModelNet40, ModelNet10), found whether or not it is there, and never an exception for what is wrong with a file.

    Attributes:
        name: what users call it.
        folder: where its files are looked for.
        found: objects whose files are there and of a plausible size.
        expected: objects that the published data set has.
        problem: the first missing or unreadable file and what is wrong with it; None if all is well.
        source: where it is distributed (a web address).
        terms: licence or terms of use, in a few words.
        tree: all its files, what is there and what is not.
        unit: what `found` and `expected` count.
    """

    name: str
    folder: Path
    found: int
    expected: int
    problem: str | None
    source: str
    terms: str
    tree: Sequence[Entry] = field(default=())
    unit: str = "objects"

    @property
    def status(self) -> str:
        """`complete`, `incomplete` or `not found`."""
        if not self.found:
            return "not found"
        return "complete" if self.found >= self.expected and self.problem is None else "incomplete"

    @property
    def reasons(self) -> list[str]:
        """Why it is not complete, each reason in a sentence. Of one that is not there at all the tree says the rest."""
        if self.status == "complete":
            return []
        reasons = [self.problem] if self.problem else []
        if self.status == "not found":
            return reasons
        for entry in self.tree:
            if entry.is_needed and entry.state != THERE:
                note = f" ({entry.note})" if entry.note else ""
                is_told = any(entry.name in reason for reason in reasons)
                reasons += [] if is_told else [f"{entry.name} is {entry.state}{note}"]
        if self.found < self.expected:
            missing = self.expected - self.found
            reasons.append(f"{missing:,} of the {self.expected:,} published {self.unit} are not there")
        return reasons


def look_at(folder: Path, name: str, least: int = 1, *, note: str = "", is_needed: bool = True) -> Entry:
    """Looks whether a file is there and has at least so many bytes."""
    path = folder / name
    if not path.is_file():
        return Entry(name, MISSING, note, is_needed)
    size = path.stat().st_size
    if size < least:
        return Entry(name, WRONG, f"{size:,} bytes, at least {least:,} are needed", is_needed)
    return Entry(name, THERE, note or f"{size:,} bytes", is_needed)


def count_files(name: str, total: int, lacking: Iterable[str], *, is_needed: bool = True) -> Entry:
    """An entry for many files of one kind.

    Args:
        name: Of the kind.
        total: How many there should be.
        lacking: Those that are missing or wrong, each with the reason.
        is_needed: The data set is not whole without them.
    """
    lacking = list(lacking)
    state = THERE if not lacking else MISSING if len(lacking) == total else WRONG
    if state == MISSING:  # all of them: their names say nothing more
        return Entry(name, state, f"0 of {total:,} files", is_needed)
    return Entry(name, state, f"{total - len(lacking):,} of {total:,} files", is_needed, lacking)


def faults_of(names: Iterable[str], sizes: dict[str, int], least: int) -> list[str]:
    """Returns what is wrong with files, given the sizes in bytes of those that are there."""
    faults = []
    for name in names:
        size = sizes.get(name)
        if size is None:
            faults.append(f"{name} is missing")
        elif size < least:
            faults.append(f"{name} has only {size:,} bytes")
    return faults
