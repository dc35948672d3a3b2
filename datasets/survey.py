"""What --check-data says about a data set: is it there, is it whole, where does it come from."""

from dataclasses import dataclass
from pathlib import Path


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
    """

    name: str
    folder: Path
    found: int
    expected: int
    problem: str | None
    source: str
    terms: str

    @property
    def status(self) -> str:
        """`complete`, `incomplete` or `not found`."""
        if not self.found:
            return "not found"
        return "complete" if self.found >= self.expected and self.problem is None else "incomplete"
