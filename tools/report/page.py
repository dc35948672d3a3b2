"""The page: its parts as HTML, what its scripts need as JSON, and all of it in one file.

Colours in figures are names that the page fills in for light and dark: `@0` to `@6`, `@ink`, `@muted`, `@faint`,
`@paper`; `@0/0.2` is see-through, `@0~0.2` is mixed with the paper.
"""

import base64
import html
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pointrecon.utils.errors import InputError

ASSETS = Path(__file__).resolve().parent / "assets"
NUM_HUES = 7


def text(value: Any) -> str:
    """Any value as HTML text."""
    return html.escape(str(value), quote=True)


def percent(value: float) -> str:
    """0.807 -> 80.7 %."""
    return f"{100 * value:.1f} %"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], caption: str) -> str:
    """A table that scrolls by itself where it is too wide; the first column names the row, numbers stand right."""
    titles = "".join(f'<th scope="col">{text(title)}</th>' for title in head)
    body = []
    for first, *rest in rows:
        cells = "".join(f"<td{_align(value)}>{text(_number(value))}</td>" for value in rest)
        body.append(f'<tr><th scope="row">{text(first)}</th>{cells}</tr>')
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}"><table>'
        f"<caption>{text(caption)}</caption><thead><tr>{titles}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def details(summary: str, inside: str) -> str:
    """Something that opens when asked for."""
    return f"<details><summary>{text(summary)}</summary>{inside}</details>"


def note(words: str) -> str:
    """A line that says what something is, or why it is not there."""
    return f'<p class="note">{text(words)}</p>'


@dataclass
class Page:
    """A page in the making.

    Attributes:
        title: of the page.
        sections: anchor, heading and HTML of each part.
        figures: what Plotly draws, by key: `data` and `layout`.
        clouds: points by key, as the scripts read them.
        data: whatever else the scripts need.
        reload_seconds: the page loads itself again after so many seconds; None: it is final.
    """

    title: str
    sections: list[tuple[str, str, str]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    clouds: dict[str, str] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    reload_seconds: int | None = None

    def add(self, key: str, heading: str, inside: str) -> None:
        """Adds a section at the end."""
        self.sections.append((key, heading, inside))

    def figure(self, key: str, traces: Sequence[Any], layout: Mapping[str, Any], label: str, numbers: str = "") -> str:
        """A chart.

        Args:
            key: of its own.
            traces: as Plotly takes them.
            layout: likewise.
            label: what it shows, for those who do not see it, and below it.
            numbers: the same as a table.
        """
        self.figures[key] = {"data": list(traces), "layout": dict(layout)}
        more = details("The numbers as a table", numbers) if numbers else ""
        width = f"min-width:{layout['width'] * 3 // 4}px;max-width:{layout['width']}px;" if "width" in layout else ""
        hidden = ' class="unseen"' if "title" in layout else ""
        style = f"{width}height:{layout.get('height', 320)}px"
        return (
            f'<figure class="chart"><div class="scroll" tabindex="0" role="region" aria-label="{text(label)}">'
            f'<div class="plot" id="plot-{text(key)}" data-figure="{text(key)}" role="img" aria-label="{text(label)}" '
            f'style="{style}"></div></div><figcaption{hidden}>{text(label)}</figcaption>{more}</figure>'
        )

    def add_cloud(self, key: str, points: np.ndarray) -> str:
        """Keeps a cloud (n, 3) whose coordinates lie about in -1..1; returns its key."""
        if key not in self.clouds:
            self.clouds[key] = encode(points)
        return key

    def keep(self, other: "Page", keys: Sequence[str]) -> None:
        """Takes sections over from another page, with all that they may need."""
        self.sections += [section for section in other.sections if section[0] in keys]
        for mine, theirs in ((self.figures, other.figures), (self.clouds, other.clouds), (self.data, other.data)):
            mine.update({key: value for key, value in theirs.items() if key not in mine})

    def panels(self, key: str, label: str, panels: Mapping[str, str]) -> str:
        """Several parts of which one is shown, chosen from a list of that key; one alone needs no list."""
        if len(panels) == 1:
            return next(iter(panels.values()))
        key = f"{key}-panels"
        options = "".join(f'<option value="{row}">{text(name)}</option>' for row, name in enumerate(panels))
        parts = [
            f'<div class="panel" data-of="{key}" data-row="{row}"{" hidden" if row else ""}>{inside}</div>'
            for row, inside in enumerate(panels.values())
        ]
        choice = f'<label class="choice">{text(label)} <select id="{key}">{options}</select></label>'
        return choice + "".join(parts)

    def render(self) -> str:
        """The whole file.

        Raises:
            InputError: Plotly is not installed.
        """
        links = "".join(f'<li><a href="#{key}">{text(heading)}</a></li>' for key, heading, _ in self.sections)
        parts = "".join(
            f'<section id="{key}" aria-labelledby="{key}-title"><h2 id="{key}-title">{text(heading)}</h2>{inside}'
            "</section>"
            for key, heading, inside in self.sections
        )
        content = {"figures": self.figures, "clouds": self.clouds, "data": self.data, "reload": self.reload_seconds}
        # No "</script>" may be in the data.
        blob = _dump(content).replace("<", "\\u003c")
        fill = {
            "TITLE": text(self.title),
            "CSS": (ASSETS / "page.css").read_text(encoding="utf-8"),
            "LINKS": links,
            "SECTIONS": parts,
            "BLOB": blob,
            "PLOTLY": plotly_script().replace("</script", "<\\/script"),
            "SCRIPT": "".join((ASSETS / name).read_text(encoding="utf-8") for name in ("clouds.js", "page.js")),
        }
        page = (ASSETS / "page.html").read_text(encoding="utf-8")
        return re.sub("%([A-Z]+)%", lambda found: fill[found[1]], page)


def _dump(content: Any) -> str:
    """JSON; non-finite numbers of a damaged run become null."""
    try:
        return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_without_nan(content), ensure_ascii=False, separators=(",", ":"))


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def plotly_script() -> str:
    """Plotly's own script.

    Raises:
        InputError: it is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise InputError(
            "the report needs the package plotly, which is not installed; run: pip install 'pointrecon[report]'"
        ) from error
    return str(get_plotlyjs())


def encode(points: np.ndarray) -> str:
    """(n, 3) -> base64 of int8, a 120th of a unit each: finer than a screen shows, and a quarter of the size."""
    return base64.b64encode(np.clip(np.rint(points * 120), -127, 127).astype(np.int8).tobytes()).decode()


def encode_levels(values: np.ndarray) -> str:
    """(n,) in 0..1 -> base64 of uint8."""
    return base64.b64encode(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8).tobytes()).decode()


def _align(value: Any) -> str:
    return ' class="number"' if isinstance(value, (int, float)) and not isinstance(value, bool) else ""


def _number(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value
