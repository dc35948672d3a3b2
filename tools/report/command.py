"""pointrecon report and pointrecon table: what runs have come to, as a page and as a table."""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pointrecon.utils.errors import InputError, closest
from pointrecon.utils.program import Parser

log = logging.getLogger("pointrecon.report")
FORMATS = {"markdown": ".md", "latex": ".tex", "csv": ".csv"}


def add_parser(commands: Any, shared: Parser) -> None:
    """Registers both commands; they read run folders, not shapes, so the shared flags are not theirs."""
    report = commands.add_parser("report", help="write one page that shows what runs have learnt")
    report.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder, or a folder of run folders")
    report.add_argument("-o", "--out", type=Path, default=Path("report.html"), help="the page (default: report.html)")
    report.add_argument("--follow", action="store_true", help="keep it current until all runs are finished")
    report.add_argument(
        "--every", type=int, default=30, metavar="SECONDS", help="how often with --follow (default: 30)"
    )
    report.add_argument("--no_network", action="store_true", help="leave out what needs the networks: faster")
    report.set_defaults(action=do_report)
    table = commands.add_parser("table", help="mean, standard deviation and n of runs, as Markdown, LaTeX or CSV")
    table.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder, or a folder of run folders")
    table.add_argument("--format", choices=sorted(FORMATS), help="default: by the ending of --out, else markdown")
    table.add_argument("--metrics", help="names in result.json between commas (default: all accuracies and IoUs)")
    table.add_argument("-o", "--out", type=Path, help="file to write (.md .tex .csv); default: standard output")
    table.set_defaults(action=do_table)


def do_report(args: argparse.Namespace) -> int:
    """report: one file."""
    import torch

    from pointrecon.tools.report.build import follow, write_report

    torch.set_num_threads(1)  # what is computed is small: beside a training, threads wait longer than they work
    if args.out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out is '{args.out}', but the page must end with .html")
    if args.every < 1:
        raise InputError(f"--every is {args.every}, but must be at least 1 second")
    if args.follow:
        follow(args.runs, args.out, seconds=args.every, with_network=not args.no_network)
    else:
        runs = write_report(args.runs, args.out, with_network=not args.no_network)
        log.info(f"'{args.out}': {len(runs)} run{'s' * (len(runs) > 1)}, {args.out.stat().st_size / 1e6:.1f} MB")
    return 0


def do_table(args: argparse.Namespace) -> int:
    """table: a row for each experiment, the mean over its seeds and folds."""
    from pointrecon.tools.report.runs import find_runs
    from pointrecon.tools.sweeps.report import format_csv, format_latex, format_markdown, make_report
    from pointrecon.utils.files.io import atomic_write

    kinds = {suffix: kind for kind, suffix in FORMATS.items()}
    if args.out is not None and args.format is None and args.out.suffix not in kinds:
        raise InputError(f"--out is '{args.out}', but must end with one of: {' '.join(kinds)}; or give --format")
    kind = args.format or (kinds[args.out.suffix] if args.out is not None else "markdown")
    metrics = [name.strip() for name in args.metrics.split(",") if name.strip()] if args.metrics else []
    report = make_report(collect(find_runs(args.runs), metrics), [])
    formats = {"markdown": format_markdown, "latex": format_latex, "csv": format_csv}
    text = formats[kind](report).rstrip("\n") + "\n"
    if args.out is None:
        sys.stdout.write(text)
    else:
        with atomic_write(args.out) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return 0


def collect(runs: Sequence[Any], metrics: Sequence[str] = ()) -> list[Any]:
    """Numbers of runs, as `tools.sweeps` takes them: runs that differ in nothing but seed and fold are one row.

    Args:
        runs: of `find_runs`.
        metrics: names in result.json; empty: all accuracies and IoUs of the final evaluation.

    Raises:
        InputError: no run is finished, or no run has a metric that is asked for.
    """
    from pointrecon.tools.report.runs import group_runs, shares
    from pointrecon.tools.sweeps.summary import Record

    finished = [run for run in runs if run.result is not None]
    for run in runs:
        if run.result is None:
            log.warning(f"{run.name} has no result.json yet, and is left out")
    known = list(dict.fromkeys(name for run in finished for name in shares(run.result, with_training=True)))
    for name in metrics:
        if name not in known:
            match = closest(name, known)
            hint = f"did you mean '{match}'?" if match else f"there are: {', '.join(known) or 'none'}"
            raise InputError(f"no run has a result '{name}' in 0..1; {hint}")
    records = []
    for row, members in group_runs(finished, across_folds=True).items():
        for run in members:
            found: Mapping[str, float] = shares(run.result, with_training=bool(metrics))
            fold = run.config.get("data", {}).get("fold")
            records += [
                Record(row, name, None, fold, run.seed, value, run.name, is_share=True)
                for name, value in found.items()
                if not metrics or name in metrics
            ]
    if not records:
        raise InputError("there is nothing for a table: none of the runs is finished with an accuracy or an IoU")
    order = list(metrics)
    return sorted(records, key=lambda record: order.index(record.metric)) if order else records
