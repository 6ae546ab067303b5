"""`pyromq admin COMMAND …`: finds the command, reads its options, runs it, shows its answer.

Exit codes: 0 done; 1 failed, with one line on stderr; 2 wrong usage. The commands and their options
are in `table`; only the module of the command that was called is imported.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import NoReturn

from pyromq.cli.calls import Answer, Call, CallFailed, CallRefused, Fields, Plan, Rows, Shown
from pyromq.cli.table import COMMANDS, Command, Option, find, is_known_elsewhere
from pyromq.errors import ConfigInvalid, PyromqError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
ANSWER_TIMEOUT_MS = 5_000
_LINE_LENGTH_MAX = 500
_HELP_WIDTH = 100


class _Formatter(argparse.HelpFormatter):
    """With a width of its own: argparse's needs shutil, which costs a tenth of the start."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_HELP_WIDTH)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CallRefused(message)


def main(arguments: Sequence[str]) -> int:
    """Runs one command line (without `pyromq admin`); returns the exit code."""
    words = list(arguments)
    name = words[0] if words else ""
    try:
        if name in ("-h", "--help", "help"):
            return _help(words[1:])
        command = find(name)
        if command is None:
            if is_known_elsewhere(name):
                return _fail(name, "not supported yet; see docs/reference/admin.md")
            raise CallRefused(
                f"no command {name!r}; `pyromq admin help` lists them"
                if name
                else "no command given; `pyromq admin help` lists them"
            )
        options = parser_of(command).parse_args(words[1:])
        return _execute(command, options)
    except (CallRefused, ConfigInvalid) as error:
        _fail(name, str(error))
        return EXIT_USAGE
    except PyromqError as error:
        return _fail(name, str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except OSError as error:
        return _fail(name, f"{error.filename or ''}: {error.strerror or error}".lstrip(": "))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def parser_of(command: Command) -> argparse.ArgumentParser:
    """The parser of one command's options."""
    parser = _Parser(
        prog=f"pyromq admin {command.name}",
        description=command.text,
        allow_abbrev=False,
        formatter_class=_Formatter,
    )
    for group in command.options:
        if len(group.options) == 1:
            _add(parser, group.options[0], is_required=group.is_required)
        else:
            either = parser.add_mutually_exclusive_group(required=group.is_required)
            for option in group.options:
                _add(either, option, is_required=False)
    if not any(option.letter == "n" for option in command.all_options):
        parser.add_argument(
            "-n", "--namesrvAddr", metavar="ADDR", help="name servers; otherwise NAMESRV_ADDR"
        )
    parser.add_argument("--json", action="store_true", help="the answer as JSON, for scripts")
    parser.add_argument(
        "--timeout", type=int, metavar="MS", help=f"of one answer ({ANSWER_TIMEOUT_MS})"
    )
    if command.changes:
        parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
        parser.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def _add(
    parser: argparse.ArgumentParser | argparse._MutuallyExclusiveGroup,
    option: Option,
    *,
    is_required: bool,
) -> None:
    if option.is_positional:
        nargs = None if is_required else "?"
        parser.add_argument(option.name, metavar=option.name.upper(), nargs=nargs, help=option.text)
        return
    words = [f"--{option.name}"]
    if option.letter:
        words.insert(0, f"-{option.letter}")
    if option.kind == "flag":
        parser.add_argument(
            *words, dest=option.name, action="store_true", default=None, help=option.text
        )
        return
    parser.add_argument(
        *words,
        dest=option.name,
        required=is_required,
        metavar=option.kind.upper() if option.kind != "text" else "TEXT",
        type=_TYPES[option.kind],
        help=option.text,
    )


def _boolean(text: str) -> bool:
    """As Java's Boolean.parseBoolean reads options, except that other words are refused."""
    word = text.strip().lower()
    if word not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is not accepted: true or false")
    return word == "true"


def _integer(text: str) -> int:
    try:
        return int(text.strip())
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None


_TYPES: dict[str, Callable[[str], object]] = {"text": str, "int": _integer, "bool": _boolean}


def _execute(command: Command, options: argparse.Namespace) -> int:
    # Collecting garbage while modules are imported finds none, and takes a twentieth of the start.
    gc.disable()
    try:
        import asyncio

        module_name, _, function_name = command.function.partition(":")
        module = import_module(f"pyromq.cli.{module_name}")
    finally:
        gc.enable()
    function = getattr(module, function_name)
    return asyncio.run(_call(command, function, options))


async def _call(
    command: Command,
    function: Callable[[Call], Awaitable[Answer | int]],
    options: argparse.Namespace,
) -> int:
    from pyromq.cli.output import progress, show
    from pyromq.client.admin import Admin

    timeout_ms = options.timeout if options.timeout is not None else ANSWER_TIMEOUT_MS
    if timeout_ms < 1:
        raise CallRefused(f"--timeout {timeout_ms} is not accepted: 1 ms or more")
    async with Admin(getattr(options, "namesrvAddr", None), timeout_ms=timeout_ms) as admin:
        answer = await function(Call(options, admin, progress))
        if isinstance(answer, int):
            return answer
        if isinstance(answer, Plan):
            await carry_out(command, answer, options)
        elif isinstance(answer, Rows | Fields):
            show([answer], as_json=options.json)
        elif answer is not None:
            show(list(answer), as_json=options.json)
    return 0


async def carry_out(command: Command, plan: Plan, options: argparse.Namespace) -> None:
    """Runs a plan's steps, or only says them; asks before on a terminal what destroys."""
    from pyromq.cli.output import printable, show

    if options.dry_run:
        if options.json:
            rows = [(step.text,) for step in plan.steps]
            show([Rows(("wouldDo",), rows)], as_json=True)
        for step in () if options.json else plan.steps:
            sys.stdout.write(f"would {printable(step.text)}\n")
        return
    if plan.destroys and plan.steps and not options.yes and sys.stdin.isatty():
        for step in plan.steps:
            sys.stderr.write(f"will {printable(step.text)}\n")
        sys.stderr.write(f"{command.name}: go on? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CallFailed("nothing was changed")
    done: list[tuple[str, str]] = []
    shown: list[Shown] = []
    for step in plan.steps:
        result = await step.act()
        if isinstance(result, Rows | Fields):
            shown.append(result)
            continue
        done.append((step.text, result or "done"))
        if not options.json:
            sys.stdout.write(printable(f"{step.text}: {result or 'done'}") + "\n")
    if options.json and done:
        shown.insert(0, Rows(("step", "result"), done, title="steps"))
    if shown:
        show(shown, as_json=options.json)


def _fail(name: str, text: str) -> int:
    line = " ".join(text.split())[:_LINE_LENGTH_MAX]
    prefix = f"pyromq admin {name}" if name and not name.startswith("-") else "pyromq admin"
    sys.stderr.write(f"{prefix}: {line}\n")
    return EXIT_FAILED


def _help(words: Sequence[str]) -> int:
    if words:
        command = find(words[0])
        if command is None:
            raise CallRefused(f"no command {words[0]!r}; `pyromq admin help` lists them")
        parser_of(command).print_help()
        return 0
    width = max(len(command.name) for command in COMMANDS)
    sys.stdout.write("usage: pyromq admin COMMAND [options]    (help COMMAND: its options)\n\n")
    for command in COMMANDS:
        sys.stdout.write(f"  {command.name.ljust(width)}  {command.text}\n")
    return 0


__all__ = ["EXIT_FAILED", "EXIT_USAGE", "carry_out", "main", "parser_of"]
