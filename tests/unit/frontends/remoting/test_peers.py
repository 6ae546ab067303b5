"""What a broker says to clients by itself, as they read it."""

from __future__ import annotations

from tests.support.broker_door import BrokerDoor, Client


def test_a_group_change_is_told_as_a_one_way_request() -> None:
    it = BrokerDoor()
    first, second = Client(it, 41_000), Client(it, 41_001)
    first.beat("c1", consumer_group="CG2")
    second.beat("c2", consumer_group="CG2")
    (notice,) = first.take_notices()
    assert notice.code == 40
    assert notice.is_oneway
    assert not notice.is_response
    assert notice.ext == {"consumerGroup": "CG2"}
