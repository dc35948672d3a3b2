"""Feeds spoilt files to everything that reads what users bring, and reports what is neither refused nor right.

A case is a valid set of files with one to three changes, drawn from (seed, target, number) alone. Whatever reads it
must raise InputError or give a result that can be. Cases run in child processes, a batch each, so that one that hangs
or takes the process down is found out and named.
"""

import contextlib
import json
import logging
import multiprocessing
import os
import random
import resource
import shutil
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from pointrecon.tools.environment import describe_environment
from pointrecon.utils.errors import InputError, check_choice
from tests.fuzzing.forms import Form, WrongResult
from tests.fuzzing.targets import TARGETS

BATCH = 250
SECONDS_A_CASE = 20.0  # of the processor; a case takes 10 to 100 ms
WALL_SECONDS_A_CASE = 600.0  # a busy machine may leave a child waiting
MAX_GROWTH_MB = 400  # of a child's memory, over one case
SHOWN = 20  # findings of a kind that are kept in full

_Files = dict[str, bytes]


def fuzz(
    targets: Sequence[str],
    count: int,
    seconds: float | None,
    seed: int,
    command: Sequence[str],
    report: Any = None,
    start: int = 0,
) -> dict[str, Any]:
    """Runs cases.

    Args:
        targets: Names in `TARGETS`.
        count: Cases of each.
        seconds: A limit for each, None: no limit.
        seed: Chooses the cases.
        command: The command line, for the record.
        report: Called with a line of text when there is something to say.
        start: Number of the first case.

    Returns:
        What was run and found, for a JSON file.

    Raises:
        InputError: There is no such target.
    """
    results = {}
    for target in targets:
        check_choice("--target", target, (*TARGETS, "all"))
        numbers = range(start, start + count)
        results[target] = _fuzz_target(target, numbers, seconds, seed, report or (lambda text: None))
    return {
        "environment": describe_environment(torch.device("cpu"), command),
        "seed": seed,
        "start": start,
        "cases": sum(result["cases"] for result in results.values()),
        "findings": sum(result["findings"] for result in results.values()),
        "targets": results,
    }


def _fuzz_target(target: str, numbers: range, seconds: float | None, seed: int, report: Any) -> dict[str, Any]:
    started = time.perf_counter()
    outcomes: Counter[str] = Counter()
    forms: dict[str, Counter[str]] = {form.name: Counter() for form in TARGETS[target]}
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=_fast_folder(), prefix="fuzz-") as folder:
        corpus = make_corpus(TARGETS[target], Path(folder))
        number = numbers.start
        while number < numbers.stop and (seconds is None or time.perf_counter() - started < seconds):
            batch = range(number, min(number + BATCH, numbers.stop))
            for case, outcome, detail in _run_batch(target, corpus, batch, seed, folder):
                if outcome == "hang":  # the machine may have stood still; a case that hangs does so again
                    ((_, outcome, detail),) = _run_batch(target, corpus, range(case, case + 1), seed, folder)
                number = case + 1
                name = TARGETS[target][case % len(TARGETS[target])].name
                kind = outcome if outcome in ("refused", "read") else "finding"
                outcomes[kind] += 1
                forms[name][kind] += 1
                if kind == "finding":
                    found.append({"kind": outcome, "form": name, "case": case, "detail": detail})
                    report(f"{target} case {case} ({name}): {outcome}: {detail.splitlines()[-1] if detail else ''}")
    kinds = Counter(item["kind"] for item in found)
    shown: Counter[str] = Counter()
    kept = [item for item in found if shown.update([item["kind"]]) or shown[item["kind"]] <= SHOWN]
    return {
        "cases": sum(outcomes.values()),
        "refused": outcomes["refused"],
        "read": outcomes["read"],
        "findings": outcomes["finding"],
        "kinds": dict(kinds),
        "forms": {name: dict(counts) for name, counts in forms.items()},
        "seconds": round(time.perf_counter() - started, 1),
        "kept": kept,
    }


def make_corpus(forms: Sequence[Form], folder: Path) -> list[_Files]:
    """Writes the valid files of each form once, makes sure that they are read, and returns what is in them."""
    corpus = []
    for form in forms:
        place = folder / "valid"
        place.mkdir()
        with _quiet(place):
            form.write(place)
            files = {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
            form.read(place)
        shutil.rmtree(place)
        corpus.append(dict(sorted(files.items())))
    return corpus


def make_case(form: Form, files: _Files, folder: Path, rng: random.Random) -> None:
    """Writes valid files into a folder and spoils some."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    names = [name for name in files if not name.endswith(form.spare or "/")]
    # A form with a hundred objects has few lists: each kind of file gets its turn.
    suffix = rng.choice(sorted({Path(name).suffix for name in names}))
    name = rng.choice([name for name in names if name.endswith(suffix)])
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        # A change that cannot be made, such as one to a file that the last change has destroyed.
        with contextlib.suppress(Exception):
            form.spoil(folder / name, rng)


def run_case(target: str, corpus: list[_Files], case: int, seed: int, folder: Path) -> tuple[str, str]:
    """Returns `refused`, `read` or the kind of a finding, and its details."""
    form, files = TARGETS[target][case % len(corpus)], corpus[case % len(corpus)]
    folder.mkdir()
    before = _peak_mb()
    try:
        with _quiet(folder):
            make_case(form, files, folder, random.Random(f"{seed}/{target}/{case}"))
            before = _peak_mb()
            form.read(folder)
        outcome = "read", ""
    except InputError as error:
        outcome = ("refused", "") if _is_told_well(error) else ("long message", str(error)[:300])
    except WrongResult as error:
        outcome = "wrong result", str(error)
    except Exception as error:  # the finding: anything that is no InputError
        outcome = type(error).__name__, traceback.format_exc(limit=-4)[-1500:]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    growth = _peak_mb() - before
    return ("memory", f"{growth:.0f} MB; {outcome}") if growth > MAX_GROWTH_MB else outcome


def _is_told_well(error: InputError) -> bool:
    return 20 < len(str(error)) < 3000


def _run_batch(target: str, corpus: list[_Files], cases: range, seed: int, folder: str) -> list[tuple[int, str, str]]:
    """Runs cases in a child until they are done or one of them takes the child down."""
    context = multiprocessing.get_context("fork")  # everything is imported already
    ours, theirs = context.Pipe(duplex=False)
    place = Path(folder) / "cases"
    place.mkdir(exist_ok=True)
    child = context.Process(target=_work, args=(theirs, target, corpus, cases, seed, place), daemon=True)
    child.start()
    theirs.close()
    results: list[tuple[int, str, str]] = []
    try:
        for case in cases:
            if not _answers(ours, child.pid):
                results.append((case, "hang", f"more than {SECONDS_A_CASE:g} s"))
                break
            results.append((case, *ours.recv()))
    except EOFError:
        child.join(5)
        results.append((len(results) + cases.start, "crash", f"exit code {child.exitcode}"))
    finally:
        child.kill()
        child.join()
        ours.close()
        shutil.rmtree(place, ignore_errors=True)
    return results


def _answers(pipe: Connection, child: int | None) -> bool:
    """Waits for a child; False if it takes too much time of the processor, or far too much of the clock."""
    started, used = time.monotonic(), _processor_seconds(child)
    while not pipe.poll(min(1.0, SECONDS_A_CASE)):
        if _processor_seconds(child) - used > SECONDS_A_CASE or time.monotonic() - started > WALL_SECONDS_A_CASE:
            return False
    return True


def _processor_seconds(child: int | None) -> float:
    """What a process has used of the processor so far; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{child}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _work(pipe: Connection, target: str, corpus: list[_Files], cases: range, seed: int, place: Path) -> None:
    torch.set_num_threads(1)
    # More is no use to any of these files; without a limit one of them could take the machine down.
    resource.setrlimit(resource.RLIMIT_AS, (32 << 30, 32 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for case in cases:
        pipe.send(run_case(target, corpus, case, seed, place / str(case)))
    pipe.close()
    os._exit(0)


@contextlib.contextmanager
def _quiet(folder: Path) -> Any:
    """No messages, no warnings, and a cache that goes away with the case."""
    logger, old = logging.getLogger("recon"), os.environ.get("XDG_CACHE_HOME")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stderr(nowhere):
                yield
    finally:
        logger.setLevel(level)
        if old is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = old


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _fast_folder() -> str | None:
    """A folder in memory if the system has one: a case is a handful of files."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def summarize(result: dict[str, Any]) -> str:
    """The result as a table."""
    lines = [f"{'target':12} {'cases':>7} {'refused':>8} {'read':>7} {'findings':>9} {'seconds':>8}"]
    for name, item in result["targets"].items():
        numbers = f"{item['cases']:7,} {item['refused']:8,} {item['read']:7,} {item['findings']:9,}"
        lines.append(
            f"{name:12} {numbers} {item['seconds']:8.0f}  {json.dumps(item['kinds']) if item['kinds'] else ''}".rstrip()
        )
    return "\n".join(lines)
