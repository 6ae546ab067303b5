"""Queues of topics that do not exist are dropped on request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyromq.broker.unused_topics import UnusedTopics
from pyromq.config import Settings, StoreConfig
from pyromq.errors import ServiceUnavailable, StoreFailed
from pyromq.store.engine import Engine
from pyromq.store.native import open_store
from tests.support.brokers import BrokerInHand
from tests.support.engines import put, settings

KEPT = ("kept", "rmq_sys_own", "%LMQ%parent$light", "SCHEDULE_TOPIC_XXXX")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A store with queues of several topics, opened again: as Apache's broker may leave them."""
    engine = open_store(settings(tmp_path))
    for topic in (*KEPT, "unused", "%RETRY%gone"):
        put(engine, topic, 0, b"body", now_ms=1_000)
    engine.write()
    engine.close()
    engine = open_store(settings(tmp_path))
    yield engine
    engine.close()


def unused(engine: Engine, root: Path) -> UnusedTopics:
    hand = BrokerInHand()
    hand.create_topic("kept")
    cell = Settings(StoreConfig(store_path_root_dir=str(root)))
    return UnusedTopics(engine, hand.broker._topics, cell)


def test_only_queues_without_a_topic_go(engine: Engine, tmp_path: Path) -> None:
    subject = unused(engine, tmp_path)
    assert subject.clean() == 2
    assert subject.clean() == 0
    for topic in KEPT:
        assert engine.queue_range(topic, 0) == (0, 1), topic
        assert (tmp_path / "consumequeue" / topic).is_dir()
    for topic in ("unused", "%RETRY%gone"):
        assert engine.queue_ids(topic) == []
        assert not (tmp_path / "consumequeue" / topic).exists()


def test_a_store_without_queues_has_nothing_to_clean(engine: Engine, tmp_path: Path) -> None:
    assert unused(engine, tmp_path / "elsewhere").clean() == 0
    assert BrokerInHand().broker.clean_unused_topics() == 0


def test_queues_that_cannot_be_dropped_are_named(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: object, topic: str) -> None:
        raise StoreFailed(f"{topic}: input/output error")

    monkeypatch.setattr(type(engine), "drop_topic", fail, raising=False)
    with pytest.raises(ServiceUnavailable, match=r"topic\[%RETRY%gone\], which does not exist"):
        unused(engine, tmp_path).clean()
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "consumequeue").write_text("not a folder")
    with pytest.raises(ServiceUnavailable, match="consumequeue cannot be read: Not a directory"):
        unused(engine, tmp_path / "file").clean()
