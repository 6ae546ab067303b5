"""Writes docs/reference/configuration.md from the declared properties.

python tools/config_docs.py          writes the page
python tools/config_docs.py --check  fails if the page is not what would be written
"""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Any, Final

from pyromq.config import (
    BrokerConfig,
    NamesrvConfig,
    ObserveConfig,
    RemotingConfig,
    StoreConfig,
)
from pyromq.config.known import KNOWN_UNUSED, NOT_YET
from pyromq.config.prop import INT_MAX, LONG_MAX, Property, properties_of
from pyromq.config.remote import BROKER_KEYS, NAMESRV_KEYS

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "configuration.md"

SECTIONS: Final[tuple[tuple[str, type[Any]], ...]] = (
    ("Broker", BrokerConfig),
    ("Store", StoreConfig),
    ("Name server", NamesrvConfig),
    ("Doors", RemotingConfig),
    ("Logs", ObserveConfig),
)

INTRODUCTION: Final = """\
# Configuration

<!-- Written by tools/config_docs.py from the declarations in src/pyromq/config. -->

Properties have the names they have in Apache RocketMQ, so an existing `broker.conf` or
`namesrv.conf` works. Those marked with * are ours. From the lowest to the highest, what counts is:

1. the default, as in the tables below;
2. what was changed while the server ran, if it ran without a file;
3. the environment variable `NAMESRV_ADDR`, for `namesrvAddr`;
4. the file (`-c FILE`, `--config FILE`), in the syntax of `java.util.Properties`;
5. environment variables: `PYROMQ_FLUSH_DISK_TYPE` is `flushDiskType`;
6. `--set key=value`;
7. other options of the command line.

A value that cannot be taken ends the start with exit code 2 and one line: key, value, where it came
from, what is accepted. Apache ignores such values silently. Blanks around a value never count.
Unknown keys are reported once, and ignored.

Properties marked with ~ can be changed while the server runs: `mqadmin updateBrokerConfig`,
`updateNamesrvConfig`. Such a change counts at once and at later starts. With `-c` it is written
into that file, into the line of its key; nothing else in the file changes. Without, it is kept in
the data directory (`pyromq/settings.properties`; a name server's in `namesrv/pyromq/`). If it
cannot be kept, it is refused with code 14 and does not count. A value that the property does not
take is refused with code 29, any other key with code 16: no path, command, address or port, and
nothing that makes an acknowledged message less safe, can be changed from afar. Apache's broker
takes every key that is not on a short black list, takes values it cannot use without a word, and
with `-c` writes the whole file anew, without its comments; without `-c` its changes end with the
process.
"""


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    parts += [_section(title, kind) for title, kind in SECTIONS]
    parts.append(_promises())
    parts.append(_unused())
    return "\n".join(parts)


def _section(title: str, kind: type[Any]) -> str:
    lines = [
        f"## {title}\n",
        "| property | default | accepted | meaning |",
        "| --- | --- | --- | --- |",
    ]
    lines += [_row(declared) for declared in properties_of(kind).values()]
    return "\n".join(lines) + "\n"


def _row(declared: Property) -> str:
    is_remote = declared.name in BROKER_KEYS | NAMESRV_KEYS
    name = f"`{declared.name}`" + ("*" if declared.is_ours else "") + ("~" if is_remote else "")
    return f"| {name} | {_default(declared)} | {_accepted(declared)} | {declared.doc} |"


def _default(declared: Property) -> str:
    value = declared.default
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return str(value.value)
    return str(value)


def _accepted(declared: Property) -> str:
    if declared.kind is int and declared.high in (INT_MAX, LONG_MAX):
        return f"{declared.low} or more"
    return declared.accepted


def _promises() -> str:
    lines = [
        "## Refused\n",
        "These keys promise what is not available yet; ignoring them would be a lie.\n",
        "| property | accepted |",
        "| --- | --- |",
    ]
    lines += [f"| `{key}` | {promise.accepted} |" for key, promise in sorted(NOT_YET.items())]
    return "\n".join(lines) + "\n"


def _unused() -> str:
    keys = sorted(KNOWN_UNUSED - NOT_YET.keys(), key=str.lower)
    return (
        "## Without effect\n\n"
        "Properties of Apache RocketMQ that are accepted, reported once, and not read:\n\n"
        + ", ".join(f"`{key}`" for key in keys)
        + ".\n"
    )


def main(arguments: list[str]) -> int:
    """Writes or checks the page."""
    wanted = page()
    if arguments == ["--check"]:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != wanted:
            print(f"{PAGE.name} is out of date: run tools/config_docs.py")
            return 1
        return 0
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
