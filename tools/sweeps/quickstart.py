"""The quickstart's runs, and their numbers in one table: python -m pointrecon.tools.sweeps.quickstart [--seed N]

What is done is kept. `--median FILE ...` instead prints median and range of several quickstart.json.
"""

import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pointrecon.tools.sweeps.plan import CHECKPOINT, MAIN, RESULT, Run
from pointrecon.tools.sweeps.summary import wilson
from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import check_file, read_json, write_json
from pointrecon.utils.program import Parser, end, exit_code

CONFIGS = MAIN.parent / "cfgs" / "quickstart"
FEW = ("data.shots=5", "epochs=28")  # 100 shapes make few steps an epoch
# Run -> (config, own overrides, whether it starts from the pretrained network, whether the user's overrides reach it).
RUNS: dict[str, tuple[str, tuple[str, ...], bool, bool]] = {
    "zeroshot": ("zeroshot", (), True, False),
    "svm_random": ("svm", ("figures=false",), False, False),
    "svm": ("svm", (), True, False),
    "scratch": ("scratch", (), False, True),
    "finetune": ("finetune", (), True, True),
    "scratch_5shot": ("scratch", FEW, False, True),
    "finetune_5shot": ("finetune", FEW, True, True),
    "linear_random": ("linear", ("start=random", "figures=false"), False, True),
    "linear_random_5shot": ("linear", (*FEW, "start=random", "figures=false"), False, True),
    "linear_5shot": ("linear", FEW, True, True),
    "linear": ("linear", (), True, True),
}
# Name of a number -> (run, metric in its result.json).
NUMBERS = {
    "zero_shot_accuracy": ("zeroshot", "zero_shot_accuracy"),
    "svm_accuracy": ("svm", "svm_accuracy"),
    "svm_random_accuracy": ("svm_random", "svm_accuracy"),
    "linear_accuracy": ("linear", "accuracy"),
    "linear_random_accuracy": ("linear_random", "accuracy"),
    "finetune_accuracy": ("finetune", "accuracy"),
    "scratch_accuracy": ("scratch", "accuracy"),
    "svm_accuracy_5shot": ("svm", "svm_5shot_accuracy"),
    "svm_random_accuracy_5shot": ("svm_random", "svm_5shot_accuracy"),
    "linear_accuracy_5shot": ("linear_5shot", "accuracy"),
    "linear_random_accuracy_5shot": ("linear_random_5shot", "accuracy"),
    "finetune_accuracy_5shot": ("finetune_5shot", "accuracy"),
    "scratch_accuracy_5shot": ("scratch_5shot", "accuracy"),
}
ROWS = (
    ("zero-shot (class names as prompts)", "zero_shot_accuracy", None),
    ("linear SVM, pretrained features", "svm_accuracy", "svm_accuracy_5shot"),
    ("linear SVM, random weights", "svm_random_accuracy", "svm_random_accuracy_5shot"),
    ("linear probe, pretrained", "linear_accuracy", "linear_accuracy_5shot"),
    ("linear probe, random weights", "linear_random_accuracy", "linear_random_accuracy_5shot"),
    ("fine-tuned, pretrained", "finetune_accuracy", "finetune_accuracy_5shot"),
    ("trained from scratch", "scratch_accuracy", "scratch_accuracy_5shot"),
)
PICTURES = {
    "pretrain_curves.png": ("pretrain", "curves.png"),
    "finetune_curves.png": ("finetune", "curves.png"),
    "reconstruction.png": ("pretrain", "reconstruction.png"),
    "confusion.png": ("finetune", "confusion.png"),
    "confusion_zero_shot.png": ("zeroshot", "confusion-zero_shot.png"),
    "tsne.png": ("svm", "tsne.png"),
}


def list_runs(seed: int, overrides: Sequence[str], root: Path, num_threads: int) -> dict[str, Run]:
    """The runs by name: the pretraining on all cores, then two at a time, each on half of them.

    Args:
        seed: Of all runs.
        overrides: key=value for every run that trains.
        root: Folder of the run folders.
        num_threads: Of the runs after the pretraining.
    """
    shared = ("--seed", str(seed))
    place = (f"output_root={root}",)
    pretrain = Run(
        "pretrain",
        str(CONFIGS / "pretrain.yaml"),
        f"pretrain-seed{seed}",
        (*shared, *overrides, *place),
        outputs=(CHECKPOINT,),
        num_threads=0,
    )
    runs, start = {"pretrain": pretrain}, str(folder_of(root, "pretrain", seed) / CHECKPOINT)
    for name, (config, own, is_pretrained, takes_overrides) in RUNS.items():
        words = (*shared, *(("--ckpts", start) if is_pretrained else ()), *own)
        words += (*(overrides if takes_overrides else ()), *place)
        path = str(CONFIGS / f"{config}.yaml")
        # Those that need no pretraining wait for it too: it has all cores.
        runs[name] = Run(name, path, f"{name}-seed{seed}", words, ("pretrain",), num_threads=num_threads)
    return runs


def folder_of(root: Path, run: str, seed: int) -> Path:
    """The run folder."""
    config = "pretrain" if run == "pretrain" else RUNS[run][0]
    return root / config / CONFIGS.name / f"{run}-seed{seed}"


def collect_quickstart(root: Path, seed: int, seconds: float | None) -> dict[str, Any]:
    """Reads the results of all runs of one seed.

    Args:
        root: Folder with the run folders.
        seed: Of the runs.
        seconds: How long they took together; None: the sum of what they say.

    Raises:
        InputError: A run is missing or not finished.
    """
    results = {run: read_json(folder_of(root, run, seed) / RESULT) for run, _ in NUMBERS.values()}
    pretraining = _train_losses(folder_of(root, "pretrain", seed) / "metrics.jsonl")
    test = results["finetune"]
    summary: dict[str, Any] = {
        "seed": seed,
        "select": test["select"],
        "num_test_objects": test["num_objects"],
        "chance": 1 / results["zeroshot"]["zero_shot_num_classes"],
        "pretrain_loss_first": pretraining[0],
        "pretrain_loss_last": pretraining[-1],
    }
    summary |= {name: results[run][metric] for name, (run, metric) in NUMBERS.items()}
    for name in ("finetune", "scratch"):
        summary[f"{name}_mean_class_accuracy"] = results[name]["mean_class_accuracy"]
    # Over objects: what another test set of this size would give. Seeds and machines differ besides.
    summary["intervals"] = {name: wilson(summary[name], test["num_objects"]) for name in NUMBERS}
    summary["seconds"] = seconds if seconds is not None else sum(result["seconds"] for result in results.values())
    return summary


def format_table(summary: Mapping[str, Any]) -> str:
    """The numbers as text, one protocol a line, all labels beside five a class, each with its interval."""
    lines = [
        f"accuracy on {summary['num_test_objects']} test objects (95 % interval over objects), seed {summary['seed']}, "
        f"chance {summary['chance']:.3f}",
        f"{'':36}{'all labels':>24}{'5 a class':>24}",
    ]
    for title, *names in ROWS:
        cells = ["{:.3f} ({:.2f} to {:.2f})".format(summary[n], *summary["intervals"][n]) if n else "" for n in names]
        lines.append(f"{title:36}{cells[0]:>24}{cells[1]:>24}".rstrip())
    for title, suffix in (("all labels", ""), ("5 a class", "_5shot")):
        gain = summary[f"finetune_accuracy{suffix}"] - summary[f"scratch_accuracy{suffix}"]
        lines.append(f"fine-tuned minus from scratch, {title}: {gain:+.3f}")
    first, last = summary["pretrain_loss_first"], summary["pretrain_loss_last"]
    lines.append(f"pretraining loss {first:.3f} -> {last:.3f}; {summary['seconds']:.0f} s in all")
    lines.append("One split is a demonstration; scripts/compare_pretraining.py measures all five folds.")
    return "\n".join(lines)


def gather_pictures(root: Path, seed: int, out: Path, summary: Mapping[str, Any]) -> list[Path]:
    """Copies the runs' pictures into one folder and draws the comparison."""
    from pointrecon.tools.visualize.results import draw_comparison  # matplotlib is slow to import

    out.mkdir(parents=True, exist_ok=True)
    written = draw_comparison(summary, out / "results.png")
    for name, (run, picture) in PICTURES.items():
        source = folder_of(root, run, seed) / "figures" / picture
        if source.is_file():
            written.append(Path(shutil.copyfile(source, out / name)))
    return written


def format_median(paths: Sequence[Path]) -> str:
    """Median and range of several quickstart.json as a Markdown table.

    Raises:
        InputError: A file that the quickstart has not written.
    """
    runs = [read_json(path) for path in paths]
    try:
        lines = [f"| {len(runs)} seeds: median (lowest to highest) | all labels | 5 labels a class |"]
        lines.append("| --- | --- | --- |")
        for title, *names in ROWS:
            cells = [_range([run[name] for run in runs]) if name else "" for name in names]
            lines.append(f"| {title} | {' | '.join(cells)} |")
        return "\n".join([*lines, "", f"seconds: {_range([run['seconds'] for run in runs], digits=0)}"])
    except (KeyError, TypeError) as error:
        raise InputError(f"a file lacks {error}; give files that scripts/quickstart.sh has written") from error


def main() -> None:
    """Does the runs, writes quickstart.json and the pictures, and says so."""
    parser = Parser(prog="-m pointrecon.tools.sweeps.quickstart", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of all runs")
    parser.add_argument("--root", type=Path, default=Path("experiments"), help="folder of the run folders")
    parser.add_argument("--out", type=Path, help="folder of the results; default: quickstart[-seedN] there")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time after the pretraining")
    parser.add_argument("--median", nargs="+", type=Path, metavar="FILE", help="their median and range instead")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for every run that trains")
    args = parser.parse_intermixed_args()
    if args.median:
        sys.stdout.write(format_median(args.median) + "\n")
        return
    from pointrecon.tools.sweeps.execute import Options, run_all, status
    from pointrecon.tools.sweeps.work import PREFIXED

    out = args.out or args.root / ("quickstart" if args.seed == 0 else f"quickstart-seed{args.seed}")
    given, cores = os.environ.get("OMP_NUM_THREADS", ""), os.cpu_count() or 1
    num_threads = int(given) if given.isdigit() and int(given) else (cores + 1) // args.jobs
    runs = list(list_runs(args.seed, args.overrides, args.root, max(num_threads, 1)).values())
    is_new, start = all(status(run) is not None for run in runs), time.monotonic()
    run_all(runs, Options(args.jobs, echo=PREFIXED, say=_say)).check()
    summary = collect_quickstart(args.root, args.seed, time.monotonic() - start if is_new else None)
    write_json(summary, out / "quickstart.json")
    pictures = gather_pictures(args.root, args.seed, out, summary)
    _say(f"{format_table(summary)}\nresults: {out / 'quickstart.json'}")
    _say("\n".join(["pictures:", *(f"  {path}" for path in pictures)]))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _range(values: list[float], digits: int = 3) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _train_losses(path: Path) -> list[float]:
    """The mean loss of every epoch."""
    records = [json.loads(line) for line in check_file(path, "metrics file").read_text(encoding="utf-8").splitlines()]
    losses = [record["loss"] for record in records if record["split"] == "train"]
    if not losses:
        raise InputError(f"'{path}' has no training epochs; run the quickstart again")
    return losses


if __name__ == "__main__":
    end(exit_code(main))
