"""The `pyromq` command. What a command needs is imported when it runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from pyromq.errors import StartFailed, StoreFailed

TOOLS: Final = {"admin": "pyromq.cli.admin", "bench": "pyromq.cli.bench.main"}
"""Commands with a command line of their own: where their `main(arguments)` is."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code: 0, what `StartFailed` says, or 1 if the
    disk refused what a clean stop writes."""
    name = ""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments and (tool := TOOLS.get(arguments[0])) is not None:
            return int(import_module(tool).main(arguments[1:]))
        from pyromq.app.options import NOT_BUILT, parse

        options = parse(arguments)
        if options.command in NOT_BUILT:
            sys.stderr.write(f"pyromq {options.command}: not built yet\n")
            return 2
        if options.command == "store":
            from pyromq.app.store import run

            return run(options)
        from pyromq.app.serve import serve

        if getattr(options, "supervised", None):
            name = f" {options.supervised}"
        serve(options)
    except StartFailed as error:
        sys.stderr.write(f"pyromq{name}: {error}\n")
        return error.exit_code
    except StoreFailed as error:
        sys.stderr.write(
            f"pyromq{name}: not closed; the next start completes what is missing: {error}\n"
        )
        return 1
    return 0


__all__ = ["TOOLS", "main"]
