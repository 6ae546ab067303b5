"""Declared properties: one dataclass field is one RocketMQ property, with its range and its text.

A configuration class is a frozen dataclass whose fields are made by `prop`. Reading a file,
checking and the reference page all follow from those declarations, so no property can exist in one
of these places only. Conversion follows MixAll.properties2Object of org.apache.rocketmq.common
5.5.0 where Apache understands a value. Where Apache silently keeps its default for a value that it
cannot read, the value is refused here: a typing error must not change how data is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields
from enum import Enum
from typing import Any, Final, Protocol, TypeVar, get_type_hints

from pyromq.errors import ConfigInvalid

T = TypeVar("T")

INT_MAX: Final = 2**31 - 1
"""Largest value of Apache's int properties."""
LONG_MAX: Final = 2**63 - 1

_CACHE: Final[dict[type[Any], dict[str, Property]]] = {}
"""By configuration class, of which there are a handful."""
_METADATA_KEY: Final = "pyromq.property"
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}\Z")


@dataclass(frozen=True, slots=True)
class Property:
    """One declared property."""

    name: str
    """RocketMQ's name, as written in broker.conf."""
    attribute: str
    kind: type[Any]
    """int, bool, str or an Enum."""
    default: Any
    doc: str
    low: int
    high: int
    is_ours: bool
    """Not one of Apache's."""
    is_boot_only: bool
    """Read once at start; a change needs a restart."""

    @property
    def accepted(self) -> str:
        """What values it takes, for messages and for the reference page."""
        if self.kind is bool:
            return "true or false"
        if issubclass(self.kind, Enum):
            return ", ".join(str(member.value) for member in self.kind)
        if self.kind is int:
            return f"{self.low} to {self.high}"
        return "text"


class Origins(Protocol):
    """Says where the value of a property came from."""

    def __call__(self, name: str) -> str: ...


class Configuration(Protocol):
    """What every configuration class can do."""

    def validate(self, origins: Origins) -> None:
        """Raises ConfigInvalid for the first value that cannot be taken."""
        ...


def prop(
    name: str,
    default: T,
    *,
    doc: str,
    low: int = 0,
    high: int = INT_MAX,
    ours: bool = False,
    boot_only: bool = False,
) -> T:
    """Declares a field that is the property `name`; `low` and `high` bound integers, inclusive."""
    details = {
        "name": name,
        "doc": doc,
        "low": low,
        "high": high,
        "is_ours": ours,
        "is_boot_only": boot_only,
    }
    return field(default=default, metadata={_METADATA_KEY: details})


def properties_of(kind: type[Any]) -> dict[str, Property]:
    """The properties of a configuration class by their RocketMQ name, in order of declaration."""
    known = _CACHE.get(kind)
    if known is None:
        known = _CACHE[kind] = {declared.name: declared for declared in _declared(kind)}
    return known


def _declared(kind: type[Any]) -> Iterator[Property]:
    hints = get_type_hints(kind)
    for item in fields(kind):
        details = item.metadata.get(_METADATA_KEY)
        assert details is not None, f"{kind.__name__}.{item.name} is not declared by prop()"
        assert item.default is not MISSING
        yield Property(attribute=item.name, kind=hints[item.name], default=item.default, **details)


def convert(declared: Property, text: str, origin: str) -> Any:
    """The typed value of a property's text; raises ConfigInvalid if the text has another form.

    Blanks around a value never count (Apache trims texts only, and drops `10911 ` silently).
    """
    value = text.strip()
    if declared.kind is str:
        return value
    if declared.kind is bool:
        if value.lower() in ("true", "false"):
            return value.lower() == "true"
    elif declared.kind is int:
        if _INTEGER.match(value):
            return int(value)
    else:
        for member in declared.kind:
            if member.value == value:
                return member
    raise invalid(declared.name, value, origin, declared.accepted)


def check_ranges(configuration: object, origins: Origins) -> None:
    """Checks every integer of a configuration against its declared bounds."""
    for declared in properties_of(configuration.__class__).values():
        value = getattr(configuration, declared.attribute)
        if declared.kind is int and not declared.low <= value <= declared.high:
            raise invalid(declared.name, value, origins(declared.name), declared.accepted)


def require(condition: bool, name: str, value: object, origins: Origins, accepted: str) -> None:
    """A check of validate(): refuses the value of `name` unless the condition holds."""
    if not condition:
        raise invalid(name, value, origins(name), accepted)


def invalid(name: str, value: object, origin: str, accepted: str) -> ConfigInvalid:
    """The one line a user sees: key, value, where it came from, what is accepted."""
    shown = value.value if isinstance(value, Enum) else value
    if isinstance(shown, bool):
        shown = "true" if shown else "false"
    text = str(shown)
    if len(text) > _SHOWN_LENGTH_MAX:
        text = text[:_SHOWN_LENGTH_MAX] + "…"
    return ConfigInvalid(f"{name}={text!r} ({origin}) is not accepted: {accepted}")


_SHOWN_LENGTH_MAX: Final = 200

__all__ = [
    "INT_MAX",
    "LONG_MAX",
    "Configuration",
    "Origins",
    "Property",
    "check_ranges",
    "convert",
    "invalid",
    "prop",
    "properties_of",
    "require",
]
