"""What a broker's process hands to its store."""

from __future__ import annotations

from pyromq.app.settings import engine_settings
from pyromq.config import StoreConfig
from tests.support.brokers import STORE_HOST


def test_a_smaller_message_size_does_not_shut_out_what_is_stored_already() -> None:
    largest = StoreConfig(max_message_size_bytes=512 << 20).max_message_size_bytes
    now = engine_settings(StoreConfig(max_message_size_bytes=1_000), STORE_HOST)
    assert now.message_size_max >= largest
