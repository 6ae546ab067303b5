"""The embedded broker in a thread of its own, for code without an event loop."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pyromq.codes import RequestCode, ResponseCode
from pyromq.errors import ConfigInvalid, InvalidParameter, StoreFailed
from pyromq.store.metadata import Metadata
from pyromq.testing import broker_in_thread
from tests.support.processes import ask


@pytest.fixture(autouse=True)
def temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where embedded brokers keep their stores during these tests."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def threads() -> list[str]:
    """Of embedded brokers."""
    return [thread.name for thread in threading.enumerate() if "embedded" in thread.name]


def route(namesrv_addr: str) -> int:
    return ask(namesrv_addr, RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": "Orders"}).code


def test_it_serves_blocking_code_and_leaves_nothing_behind(temporary_directory: Path) -> None:
    with broker_in_thread() as broker:
        assert route(broker.namesrv_addr) == ResponseCode.TOPIC_NOT_EXIST
        broker.create_topic("Orders", queue_count=3)
        assert route(broker.namesrv_addr) == ResponseCode.SUCCESS
        broker.delete_topic("Orders")
        assert route(broker.namesrv_addr) == ResponseCode.TOPIC_NOT_EXIST
        assert (broker.store_dir / "commitlog").is_dir()
        with pytest.raises(InvalidParameter, match="illegal characters"):
            broker.create_topic("a b")
    assert list(temporary_directory.iterdir()) == []
    assert threads() == []


def test_several_serve_at_once() -> None:
    with broker_in_thread() as one, broker_in_thread() as two:
        one.create_topic("Orders")
        assert route(one.namesrv_addr) == ResponseCode.SUCCESS
        assert route(two.namesrv_addr) == ResponseCode.TOPIC_NOT_EXIST


def test_an_error_in_the_block_comes_out_as_it_is(temporary_directory: Path) -> None:
    with pytest.raises(ZeroDivisionError), broker_in_thread():
        raise ZeroDivisionError
    assert list(temporary_directory.iterdir()) == []
    assert threads() == []


def test_a_start_that_fails_is_told_to_who_asked(temporary_directory: Path) -> None:
    with (
        pytest.raises(ConfigInvalid, match="noSuchProperty"),
        broker_in_thread(properties={"noSuchProperty": 1}),
    ):
        pass
    assert list(temporary_directory.iterdir()) == []
    assert threads() == []


def test_an_end_that_fails_is_told_to_who_asked(
    temporary_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = Metadata.stop

    async def failing(metadata: Metadata) -> None:
        await stop(metadata)
        raise StoreFailed("the disk has gone")

    monkeypatch.setattr(Metadata, "stop", failing)
    with pytest.raises(StoreFailed, match="the disk has gone"), broker_in_thread():
        pass
    assert list(temporary_directory.iterdir()) == []
    assert threads() == []
