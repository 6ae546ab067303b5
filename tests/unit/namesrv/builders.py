"""What brokers say, in short."""

from __future__ import annotations

from typing import Any

from pyromq.domain.topic import TopicConfig
from pyromq.domain.version import DataVersion
from pyromq.namesrv.brokers import Registration


def topics(*names: str, perm: int = 6, flags: int = 0) -> dict[str, TopicConfig]:
    return {
        name: TopicConfig(
            topic_name=name, read_queue_nums=8, write_queue_nums=8, perm=perm, topic_sys_flag=flags
        )
        for name in names
    }


def registration(*names: str, broker_id: int = 0, version: int = 1, **more: Any) -> Registration:
    """Broker `a` of cluster `c` at `h:<broker id>` with these topics."""
    members: dict[str, Any] = {
        "cluster_name": "c",
        "broker_name": "a",
        "broker_addr": f"h:{broker_id}",
        "broker_id": broker_id,
        "data_version": DataVersion(version, 0, 0),
        "topics": topics(*names),
        "ha_server_addr": f"ha:{broker_id}",
    }
    return Registration(**(members | more))
