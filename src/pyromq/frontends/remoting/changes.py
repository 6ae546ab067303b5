"""The body of a change to a configuration (codes 25, 318, 2001): a property file."""

from __future__ import annotations

from pyromq.config.properties import parse_properties
from pyromq.errors import ConfigInvalid, InvalidParameter


def changed_properties(body: bytes) -> dict[str, str]:
    """Keys and values; raises InvalidParameter for what is no property file."""
    try:
        return {entry.key: entry.value for entry in parse_properties(body, "the request's body")}
    except ConfigInvalid as error:
        raise InvalidParameter(str(error)) from error


__all__ = ["changed_properties"]
