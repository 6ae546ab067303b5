"""How the consumers of a group get the messages of a topic (code 401): they pull.

Source: setMessageRequestMode of processor.QueryAssignmentProcessor of org.apache.rocketmq.broker
5.5.0, which also knows POP.
"""

from __future__ import annotations

from typing import Final

from pyromq.broker.groups import Groups
from pyromq.broker.remarks import shown
from pyromq.broker.topics import Topics
from pyromq.domain.topic import RETRY_PREFIX
from pyromq.errors import GroupNotFound, NoPermission, RequestNotSupported, TopicNotFound

PULL: Final = "PULL"


class ConsumeMode:
    """PULL is every group's mode, so setting it changes nothing."""

    def __init__(self, topics: Topics, groups: Groups) -> None:
        self._topics = topics
        self._groups = groups

    def set(self, topic: str, group: str, mode: str) -> None:
        """Raises RequestNotSupported for any mode but PULL."""
        if topic.startswith(RETRY_PREFIX):
            raise NoPermission("retry topic is not allowed to set mode")
        if topic not in self._topics.table:
            raise TopicNotFound(f"topic[{shown(topic)}] not exist")
        try:
            self._groups.config(group)
        except GroupNotFound as error:
            raise GroupNotFound("subscription group does not exist") from error
        if mode != PULL:
            raise RequestNotSupported(
                f"the mode {shown(mode)} is not supported: this server has no POP consumption"
            )


__all__ = ["PULL", "ConsumeMode"]
