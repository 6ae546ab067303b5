"""What a name server tells brokers by itself."""

from __future__ import annotations

import asyncio

import pytest

from pyromq.app.namesrv import NOTICES_MAX, BrokerNotices
from pyromq.client import PeerUnreachable, RemotingClient
from pyromq.codes import RequestCode
from pyromq.namesrv.brokers import MinBrokerIdChange

CHANGE = MinBrokerIdChange(
    min_broker_id=1,
    min_broker_addr="10.0.0.2:10911",
    offline_broker_addr="10.0.0.1:10911",
    ha_broker_addr=None,
    notify=("10.0.0.2:10911",),
)


class NotingClient(RemotingClient):
    """Sends nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, int, dict[str, str]]] = []
        self.may_go = asyncio.Event()
        self.is_reachable = True

    async def tell(
        self,
        address: str,
        code: int,
        ext: dict[str, str] | None = None,
        body: bytes = b"",
        *,
        timeout_ms: int = 3_000,
    ) -> None:
        await self.may_go.wait()
        if not self.is_reachable:
            raise PeerUnreachable(f"{address}: no connection")
        self.told.append((address, code, ext or {}))


async def turned(notices: BrokerNotices) -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_change_is_told_as_apaches_name_server_tells_it() -> None:
    client = NotingClient()
    client.may_go.set()
    notices = BrokerNotices(client)
    notices.notify_min_broker_id_changed("10.0.0.2:10911", CHANGE)
    await turned(notices)
    assert client.told == [
        (
            "10.0.0.2:10911",
            RequestCode.NOTIFY_MIN_BROKER_ID_CHANGE,
            {
                "minBrokerId": "1",
                "minBrokerAddr": "10.0.0.2:10911",
                "offlineBrokerAddr": "10.0.0.1:10911",
            },
        )
    ]
    await notices.stop()


async def test_a_broker_that_cannot_be_reached_is_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = NotingClient()
    client.may_go.set()
    client.is_reachable = False
    notices = BrokerNotices(client)
    with caplog.at_level("INFO"):
        notices.notify_min_broker_id_changed("10.0.0.2:10911", CHANGE)
        await turned(notices)
    assert "no connection" in caplog.text
    await notices.stop()


async def test_notices_are_bounded_and_a_stop_does_not_wait_for_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = NotingClient()
    notices = BrokerNotices(client)
    for _ in range(NOTICES_MAX + 1):
        notices.notify_min_broker_id_changed("10.0.0.2:10911", CHANGE)
    assert "too many notices" in caplog.text
    await notices.stop()
    assert client.told == []
