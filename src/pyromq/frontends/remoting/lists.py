"""Long lists in frames that clients accept: in parts where clients ask for parts, else refused.

Source: getAllTopicConfig and getAllSubscriptionGroup of AdminBrokerProcessor of
org.apache.rocketmq.broker 5.5.0, and of client.impl.MQClientAPIImpl.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Final, TypeVar

from pyromq.domain.version import DataVersion
from pyromq.errors import RequestFailed
from pyromq.frontends.remoting.table import Answer
from pyromq.units import KIB
from pyromq.wire.remoting.bodies.registration import decode_data_version
from pyromq.wire.remoting.frame import FRAME_SIZE_MAX

PART_COUNT_MAX: Final = 2_000
"""Entries of one part; as many as mqadmin asks for."""
LIST_SIZE_MAX: Final = FRAME_SIZE_MAX - 64 * KIB
"""Bytes of a list in one frame: clients close the connection at a frame over 16 MiB."""

ValueT = TypeVar("ValueT")


def part(
    table: Mapping[str, ValueT],
    version: DataVersion,
    *,
    begin: int | None,
    count_max: int | None,
    version_text: str | None,
) -> dict[str, ValueT]:
    """What a request gets of a table: all of it if it does not ask for parts.

    A part of another version of the table begins anew. Apache's client ends when all but one entry
    have come, so the last but one never ends a part.
    """
    if begin is None and count_max is None and version_text is None:
        return dict(table)
    first = max(begin or 0, 0)
    if first and not _is_same(version_text, version):
        first = 0
    end = first + min(max(count_max or PART_COUNT_MAX, 1), PART_COUNT_MAX)
    if end == len(table) - 1:
        end += 1
    return dict(islice(table.items(), first, end))


def listed(body: bytes, ext: Mapping[str, str] | None = None) -> Answer:
    """The answer with this list; raises RequestFailed if no frame can carry it."""
    if len(body) > LIST_SIZE_MAX:
        raise RequestFailed(
            f"the list has {len(body)} bytes, more than the {LIST_SIZE_MAX} that a frame carries"
        )
    return Answer(dict(ext or {}), body)


def _is_same(text: str | None, version: DataVersion) -> bool:
    try:
        return bool(text) and decode_data_version((text or "").encode()) == version
    except RequestFailed:
        return False


__all__ = ["LIST_SIZE_MAX", "PART_COUNT_MAX", "listed", "part"]
