"""The tables of docs/reference/admin.md, from the table of commands.

uv run python -m tests.support.admin_reference        prints them, to be put into the page
"""

from __future__ import annotations

import sys

from pyromq.cli.table import COMMANDS, Command, OptionGroup
from pyromq.cli.words import NOT_SUPPORTED


def command_rows() -> list[str]:
    """One line per command."""
    return [f"| `{one.name}` | {_options(one)} | {one.text} |" for one in COMMANDS]


def missing_rows() -> list[str]:
    """One line per family that is not there yet."""
    return [
        f"| {family} | {', '.join(f'`{name}`' for name in names)} |"
        for family, names in NOT_SUPPORTED.items()
    ]


def _options(command: Command) -> str:
    return " ".join(_group(group) for group in command.options) or "–"


def _group(group: OptionGroup) -> str:
    texts = []
    for option in group.options:
        if option.is_positional:
            texts.append(option.name.upper())
        elif option.letter:
            texts.append(f"-{option.letter} {option.name}")
        else:
            texts.append(f"--{option.name}")
    text = f"`{' '.join(texts)}`" if len(texts) == 1 else f"(`{'` or `'.join(texts)}`)"
    return text + ("*" if group.is_required else "")


if __name__ == "__main__":
    sys.stdout.write("\n".join([*command_rows(), "", *missing_rows(), ""]))

__all__ = ["command_rows", "missing_rows"]
