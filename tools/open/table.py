"""A table of zero-shot scores as Markdown and LaTeX."""

from collections.abc import Sequence

from pointrecon.tools.open.changes import AS_STORED
from pointrecon.tools.open.zero_shot import Score

HEAD = ("model", "set", "up", "n", "classes", "top-1", "95 %", "top-3", "top-5", "class mean")
_PLAIN = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}"}


def make_rows(scores: Sequence[Score]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: one row a model, set and axis; what was done to the clouds beside it."""
    extra = list(dict.fromkeys(score.change for score in scores if score.change != AS_STORED))
    changed = {(score.model, score.dataset, score.up, score.change): score for score in scores}
    rows = []
    for score in scores:
        if score.change != AS_STORED:
            continue
        row = [score.model, score.dataset, score.up, f"{score.num_objects:,}", f"{score.num_classes:,}"]
        low, high = score.interval
        row += [_percent(score.top[1]), f"{_percent(low)} to {_percent(high)}"]
        row += [_percent(score.top[3]), _percent(score.top[5]), _percent(score.class_mean)]
        for name in extra:
            other = changed.get((score.model, score.dataset, score.up, name))
            row.append("" if other is None else _percent(other.top[1]))
        rows.append(row)
    return [*HEAD, *extra], rows


def format_markdown(scores: Sequence[Score]) -> str:
    """The table, and under it what its numbers rest on."""
    columns, rows = make_rows(scores)
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows]
    return "\n".join([*lines, "", *(f"- {note}" for note in make_notes(scores))]) + "\n"


def format_latex(scores: Sequence[Score]) -> str:
    """The same with booktabs, the notes as comments."""
    columns, rows = make_rows(scores)
    lines = [f"% {note}" for note in make_notes(scores)]
    lines += [r"\begin{tabular}{lll" + "r" * (len(columns) - 3) + "}", r"\toprule"]
    lines.append(" & ".join(map(_escape, columns)) + r" \\")
    lines += [r"\midrule", *(" & ".join(map(_escape, row)) + r" \\" for row in rows)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def make_notes(scores: Sequence[Score]) -> list[str]:
    """What the numbers rest on."""
    notes = [
        "Accuracies in %. up: the axis that was taken for up in the stored clouds, which have y up in the published "
        "files; each model then sees its own axes. 95 %: Wilson's interval of top-1 over objects. Points in the order "
        "of the file; class features normalised; of equal scores the right class counts last.",
        "Columns after the class mean: top-1 of changed clouds, each object's change fixed by its place in the set.",
    ]
    notes = notes[:2] if any(score.change != AS_STORED for score in scores) else notes[:1]
    notes += dict.fromkeys(f"{score.model}, {score.dataset}: class features {score.text}." for score in scores)
    notes += dict.fromkeys(f"{score.dataset}: {note}." for score in scores for note in score.notes)
    return notes


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _escape(text: str) -> str:
    return "".join(_PLAIN.get(letter, letter) for letter in text)
