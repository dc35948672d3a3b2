"""Makes report.html of runs, once or as long as one of them trains."""

import datetime
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pointrecon.tools.report import attention, classes, curves, network, overview, space
from pointrecon.tools.report.objects import find_objects
from pointrecon.tools.report.page import Page, note, plotly_script
from pointrecon.tools.report.runs import Run, find_runs, group_runs
from pointrecon.utils.files.io import atomic_write

log = logging.getLogger("pointrecon.report")
MAX_BYTES = 15_000_000
SLOW = ("reconstructions", "map", "retrieval", "attention")
SHARE = 0.05  # of the time that --follow may spend on these while a run trains beside it
WATCHED = ("config.yaml", "metrics.jsonl", "result.json", "*.npz", "ckpt-*.pth")


def write_report(places: Sequence[Path], out: Path, *, with_network: bool = True) -> list[Run]:
    """Writes the page.

    Args:
        places: run folders, or folders of them.
        out: the file.
        with_network: whether networks are run, which takes most of the time.

    Returns:
        The runs that it shows.

    Raises:
        InputError: there is no run, the file cannot be written, or Plotly is not installed.
    """
    plotly_script()  # found out before the work, not after it
    runs = find_runs(places)
    _save(make_page(runs, with_network=with_network), out)
    return runs


def _save(page: Page, out: Path) -> None:
    with atomic_write(out) as temporary:
        temporary.write_text(page.render(), encoding="utf-8", errors="replace")  # names of folders need not be UTF-8
    size = out.stat().st_size
    if size > MAX_BYTES:
        log.warning(f"'{out}' has {size / 1e6:.0f} MB; name fewer runs for a smaller one")


def make_page(runs: Sequence[Run], *, with_network: bool = True, kept: Page | None = None) -> Page:
    """Puts the page together.

    Args:
        runs: what it shows.
        with_network: as for `write_report`.
        kept: an older page, whose `SLOW` sections are taken over as they are.
    """
    groups = group_runs(runs)
    objects = find_objects(runs)
    names = ", ".join(list(groups)[:4]) + (f" and {len(groups) - 4} more" if len(groups) > 4 else "")
    page = Page(f"Report: {names}")
    page.data["made"] = f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}"
    overview.add_overview(page, groups)
    curves.add_curves(page, groups)
    classes.add_predictions(page, runs, objects)
    if kept is not None:
        page.keep(kept, SLOW)
    else:
        networks, notes = network.find_networks(runs, objects) if with_network else ([], [])
        network.add_reconstructions(page, networks, runs)
        space.add_spaces(page, runs, objects, networks)
        attention.add_attention(page, networks)
        key, heading, inside = page.sections[-1]
        page.sections[-1] = (key, heading, inside + "".join(map(note, notes)))
    overview.add_configuration(page, groups)
    return page


def follow(
    places: Sequence[Path],
    out: Path,
    *,
    seconds: int,
    with_network: bool = True,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Keeps the page current until each run has its result; the page loads itself again as long.

    Args:
        places: as for `write_report`.
        out: likewise.
        seconds: between two looks at the folders.
        with_network: likewise.
        wait: sleeps.

    Raises:
        InputError: as `write_report`.
    """
    plotly_script()
    seen: object = None
    kept: Page | None = None
    again = 0.0  # when the slow sections are made again
    while True:
        runs = find_runs(places)
        is_done = all(run.result is not None for run in runs)
        state = (is_done, [_state(run) for run in runs])
        if state != seen:
            start = time.monotonic()
            is_whole = kept is None or is_done or start >= again
            page = make_page(runs, with_network=with_network, kept=None if is_whole else kept)
            if is_whole:
                kept, again = page, time.monotonic() + (time.monotonic() - start) / SHARE
            page.reload_seconds = None if is_done else seconds
            _save(page, out)
            log.info(f"'{out}': {', '.join(f'{run.name} {overview.describe_state(run)}' for run in runs)}")
            seen = state
        if is_done:
            return
        wait(seconds)


def _state(run: Run) -> list[tuple[str, int, int]]:
    """What changes when a file of the run does."""
    files = [path.stat() if path.exists() else None for pattern in WATCHED for path in run.files(pattern)]
    return [(run.name, item.st_mtime_ns, item.st_size) for item in files if item is not None]
