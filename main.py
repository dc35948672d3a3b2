"""Starts a run: python main.py --config CFG [--exp_name NAME] [flags] [key=value ...]"""

import sys
from collections.abc import Sequence

try:
    from pointrecon.tools import cli
    from pointrecon.utils.program import end, exit_code
except ModuleNotFoundError as error:
    if error.name is None or error.name.split(".")[0] != "pointrecon":
        raise
    sys.stderr.write(
        f"error: the package is not installed for {sys.executable}; run 'bash setup.sh' and then use "
        "'.venv/bin/python main.py', or run 'pip install -e .'\n"
    )
    sys.exit(2)


def run(argv: Sequence[str]) -> None:
    """Does what the command line says. Imports late: --help and a mistake are answered before torch is loaded."""
    args = cli.parse(argv)

    overrides = cli.to_overrides(args)

    if args.check_data:
        from pointrecon.tools import check_data

        print(check_data.describe(args.config, overrides))
        return
    if args.list:
        from pointrecon.tools.startup import list_names

        print(list_names.describe(args.list))
        return

    from pointrecon.tools.startup import checks, print_config, unread
    from pointrecon.utils.config import resolve_config

    resolved = resolve_config(args.config, overrides)
    cfg = resolved.cfg
    if args.print_config:
        print(print_config.describe(resolved))
        return
    checks.check(args, cfg)

    from pointrecon.tools.checkpoints.adopt import adopt_sizes
    from pointrecon.tools.context import make_context
    from pointrecon.tools.faults import explained
    from pointrecon.tools.startup.run_name import choose_name
    from pointrecon.tools.tasks import TASKS
    from pointrecon.tools.training import runner

    adopted = adopt_sizes(cfg, resolved.origins)
    name = choose_name(args, cfg)
    with explained(cfg), make_context(cfg, args.config, name, args.overwrite) as ctx:
        if name != args.exp_name:
            ctx.logger.info(f"'{args.exp_name}' holds a run already: the results are put beside it, in '{ctx.folder}'")
        for warning in unread.warnings(resolved, args.config):
            ctx.logger.warning(f"warning: {warning}")
        if adopted:
            ctx.logger.info(f"init: sizes from '{cfg.init}', since no config gives them: {', '.join(adopted)}")
        runner.run(TASKS.get(cfg.task)(cfg, ctx), cfg, ctx)


def main() -> int:
    """Returns the exit code: 0 done, 2 bad input, 130 interrupted; any other error is a traceback and 1."""
    return exit_code(lambda: run(sys.argv[1:]))


if __name__ == "__main__":
    end(main())
