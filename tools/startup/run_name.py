"""Where a test of a run puts its results when it has the run's own name, as published commands give it."""

import argparse
import itertools

from pointrecon.tools.context import find_results, run_folder
from pointrecon.tools.settings import Settings

MODES = ("test", "svm", "zeroshot")  # flags that train nothing


def choose_name(args: argparse.Namespace, cfg: Settings) -> str:
    """Returns the name of the run folder: --exp_name, or one beside it where a test would meet results that are there.

    Args:
        args: What `cli.parse` returns.
        cfg: The whole config.

    Returns:
        `--exp_name`; test_NAME, svm_NAME or zeroshot_NAME if its folder holds a run; with -2, -3, ... if that does too
        and may not be overwritten.
    """
    mode = next((name for name in MODES if getattr(args, name)), None)
    name = str(args.exp_name)
    if mode is None or cfg["resume"] or not find_results(run_folder(cfg["output_root"], args.config, name)):
        return name
    beside = f"{mode}_{name}"
    names = itertools.chain([beside], (f"{beside}-{number}" for number in itertools.count(2)))
    free = (item for item in names if not find_results(run_folder(cfg["output_root"], args.config, item)))
    return beside if args.overwrite else next(free)
