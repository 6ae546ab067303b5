"""Where property values come from, and how they become one checked configuration.

A source is a text per property and the place it stands in. Sources are given lowest first: what a
later one says counts. The usual order (see `app`): defaults that depend on the situation,
NAMESRV_ADDR, the file, PYROMQ_… variables, `--set`, other options.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from pyromq.config.known import KNOWN_UNUSED, NOT_YET
from pyromq.config.prop import Configuration, Property, convert, invalid, properties_of
from pyromq.config.properties import FILE_SIZE_MAX, parse_properties
from pyromq.errors import ConfigInvalid

C = TypeVar("C", bound=Configuration)

ENVIRONMENT_PREFIX: Final = "PYROMQ_"

_KEY: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,127}\Z")


@dataclass(frozen=True)
class Source:
    """Texts of some properties. `name` is what a user knows it by: a file, `--set`, an option."""

    name: str
    values: Mapping[str, str]
    lines: Mapping[str, int] = field(default_factory=dict)
    """Line of each key, for files."""

    def origin(self, key: str) -> str:
        line = self.lines.get(key)
        return self.name if line is None else f"{self.name}:{line}"

    def without(self, *keys: str) -> Source:
        """The same source for a part that these keys do not concern."""
        left = {key: value for key, value in self.values.items() if key not in keys}
        return Source(self.name, left, self.lines)


@dataclass(frozen=True)
class Leftover:
    """A key that no part of this process reads."""

    key: str
    origin: str
    is_known: bool
    """Apache has it; it has no effect here (yet)."""


def file_source(path: Path) -> Source:
    """The properties of a file; raises ConfigInvalid if it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_SIZE_MAX + 1)
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}") from error
    entries = parse_properties(data, str(path))
    return Source(
        str(path),
        {entry.key: entry.value for entry in entries},
        {entry.key: entry.line for entry in entries},
    )


def set_source(assignments: Sequence[str]) -> Source:
    """The `--set key=value` options of a command line."""
    values: dict[str, str] = {}
    for assignment in assignments:
        key, sign, value = assignment.partition("=")
        key = key.strip()
        if not sign or not _KEY.match(key):
            raise ConfigInvalid(f"--set {assignment!r} is not accepted: key=value")
        values[key] = value
    return Source("--set", values)


def namesrv_source(environ: Mapping[str, str]) -> Source:
    """NAMESRV_ADDR: as with Apache, a default that file and options override."""
    address = environ.get("NAMESRV_ADDR", "")
    return Source("environment NAMESRV_ADDR", {"namesrvAddr": address} if address else {})


def environment_source(environ: Mapping[str, str], kinds: Iterable[type[Any]]) -> Source:
    """PYROMQ_… variables: PYROMQ_FLUSH_DISK_TYPE and PYROMQ_flushDiskType are flushDiskType.

    Variables that match no property keep their own name and end among the leftovers.
    """
    names = {name.lower(): name for kind in kinds for name in properties_of(kind)}
    values: dict[str, str] = {}
    for variable, value in environ.items():
        if variable.startswith(ENVIRONMENT_PREFIX):
            bare = variable.removeprefix(ENVIRONMENT_PREFIX).replace("_", "").lower()
            values[names.get(bare, variable)] = value
    return Source("environment", values)


def load(kind: type[C], sources: Sequence[Source]) -> C:
    """One configuration out of all sources, checked; raises ConfigInvalid."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, declared in properties_of(kind).items():
        for source in reversed(sources):
            if name in source.values:
                origins[name] = source.origin(name)
                values[declared.attribute] = convert(declared, source.values[name], origins[name])
                break
    configuration = kind(**values)
    configuration.validate(lambda name: origins.get(name, "default"))
    return configuration


def leftovers(kinds: Sequence[type[Any]], sources: Sequence[Source]) -> list[Leftover]:
    """Keys that none of `kinds` declares, each once.

    Raises ConfigInvalid for a key that promises what this server cannot keep: ignoring
    `authenticationEnabled=true` or `minInSyncReplicas=2` would be a lie.
    """
    declared = {name for kind in kinds for name in properties_of(kind)}
    found: dict[str, Leftover] = {}
    for key, value, origin in _settings(sources):
        if key in declared:
            continue
        promise = NOT_YET.get(key)
        if promise is not None and value.strip().lower() not in promise.harmless:
            raise invalid(key, value.strip(), origin, promise.accepted)
        found[key] = Leftover(key, origin, key in KNOWN_UNUSED)
    return list(found.values())


def leftover_lines(found: Sequence[Leftover]) -> list[str]:
    """At most two sentences for the log, whatever the number of keys."""
    lines = []
    unknown = [f"{item.key} ({item.origin})" for item in found if not item.is_known]
    if unknown:
        lines.append("unknown properties, ignored: " + ", ".join(unknown))
    known = [item.key for item in found if item.is_known]
    if known:
        lines.append("properties of Apache RocketMQ without effect here: " + ", ".join(known))
    return lines


def text_of(declared: Property, configuration: object) -> str:
    """A property's value as a property file would say it."""
    value = getattr(configuration, declared.attribute)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _settings(sources: Sequence[Source]) -> Iterator[tuple[str, str, str]]:
    """What counts in the end: each key once, with the value of its highest source."""
    merged: dict[str, Source] = {}
    for source in sources:
        merged.update(dict.fromkeys(source.values, source))
    for key, source in merged.items():
        yield key, source.values[key], source.origin(key)


__all__ = [
    "ENVIRONMENT_PREFIX",
    "Leftover",
    "Source",
    "environment_source",
    "file_source",
    "leftover_lines",
    "leftovers",
    "load",
    "namesrv_source",
    "set_source",
    "text_of",
]
