"""What a file of the projection shows of entries that have changed since it was written.

Apache's broker may be started on files that are up to five seconds older than our journal, because
our process was killed. When ours is started again, an entry of such a file that differs from the
journal was changed either by us after the file was written or by Apache after it was read. With the
value that the file showed, the two can be told apart; so the tables keep that value for each entry
from its first change on. A new content of the file begins with nothing kept.

Two contents may be candidates at once: a new one is announced before it is renamed into place.
"""

from __future__ import annotations

from typing import Final

import msgspec

from pyromq.domain.group import GroupConfig
from pyromq.domain.topic import TopicConfig

TOPICS: Final = "config/topics.json"
GROUPS: Final = "config/subscriptionGroup.json"
OFFSETS: Final = "config/consumerOffset.json"
DELAY_OFFSETS: Final = "config/delayOffset.json"
KV: Final = "kvConfig.json"

SHOWN_KEPT: Final = 3
"""Contents that may lie in a file's place: more than two only while writing it keeps failing."""


class Shown(msgspec.Struct, kw_only=True):
    """One content of one file; None stands for an entry that the content does not have."""

    digest: bytes = b""
    topics: dict[str, TopicConfig | None] = msgspec.field(default_factory=dict)
    groups: dict[str, GroupConfig | None] = msgspec.field(default_factory=dict)
    offsets: dict[str, dict[int, int | None]] = msgspec.field(default_factory=dict)
    """`topic@group` → queue id → offset."""
    delay_offsets: dict[int, int | None] = msgspec.field(default_factory=dict)

    def copy(self) -> Shown:
        """What it is now, for another thread."""
        return Shown(
            digest=self.digest,
            topics=dict(self.topics),
            groups=dict(self.groups),
            offsets={key: dict(queues) for key, queues in self.offsets.items()},
            delay_offsets=dict(self.delay_offsets),
        )


__all__ = ["DELAY_OFFSETS", "GROUPS", "KV", "OFFSETS", "SHOWN_KEPT", "TOPICS", "Shown"]
