"""Starts a run: python main.py --config CFG [--exp_name NAME] [flags] [key=value ...]"""

import sys
from collections.abc import Sequence

from tools import cli
from utils.errors import InputError


def run(argv: Sequence[str]) -> None:
    """Does what the command line says. Imports late: --help and a mistake are answered before torch is loaded."""
    args = cli.parse(argv)

    from utils.config import load_config

    if args.check_data:
        from tools import check_data

        print(check_data.describe(args.config, cli.to_overrides(args)))
        return

    cfg = load_config(args.config, cli.to_overrides(args))
    cli.check(args, cfg)

    from tools import runner
    from tools.context import make_context
    from tools.tasks import TASKS

    with make_context(cfg, args.config, args.exp_name, args.overwrite) as ctx:
        task = TASKS.get(cfg.task)(cfg, ctx)
        ctx.open_folder()  # only now: a run that cannot start leaves nothing behind
        runner.run(task, cfg, ctx)


def main() -> int:
    """Returns the exit code: 0 done, 2 bad input, 130 interrupted; any other error is a traceback and 1."""
    try:
        run(sys.argv[1:])
    except InputError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
