"""The KV configuration: bounds, and answers that wait for the journal."""

from __future__ import annotations

from typing import Any

import pytest

from pyromq.config import NamesrvConfig, Settings
from pyromq.errors import InvalidParameter, QueryNotFound, RequestFailed, ServiceUnavailable
from pyromq.namesrv.kv import NAME_LENGTH_MAX, KvConfig
from pyromq.store.metadata import Metadata
from tests.support.brokers import Asked
from tests.support.clock import ManualClock


class KvInHand:
    """A KV configuration whose turns and syncs happen when the test says so."""

    def __init__(self, *, sync_flush: bool = False, **config: Any) -> None:
        self.metadata = Metadata.in_memory(clock=ManualClock(), sync_flush=sync_flush)
        self.turns_asked = 0
        self.kv = KvConfig(Settings(NamesrvConfig(**config)), self.metadata, self._ask_for_turn)

    def _ask_for_turn(self) -> None:
        self.turns_asked += 1

    def put(self, namespace: str, key: str, value: str) -> Asked[None]:
        return Asked(self.kv.put(namespace, key, value))

    def delete(self, namespace: str, key: str) -> Asked[None]:
        return Asked(self.kv.delete(namespace, key))

    def stored(self, namespace: str, key: str, value: str) -> None:
        asked = self.put(namespace, key, value)
        self.kv.write()
        asked.result  # noqa: B018 — raises what it was refused with


def test_a_value_is_answered_after_the_turn_has_written_it() -> None:
    hand = KvInHand()
    asked = hand.put("n", "k", "v")
    assert asked.is_waiting
    assert hand.turns_asked == 1
    hand.kv.write()
    assert asked.result is None
    assert hand.kv.value("n", "k") == "v"


def test_in_sync_flush_a_value_is_answered_after_its_sync() -> None:
    hand = KvInHand(sync_flush=True)
    first, second = hand.put("n", "k", "1"), hand.put("n", "k", "2")
    hand.kv.write()
    assert first.is_waiting
    assert second.is_waiting
    hand.metadata.flush()
    assert first.result is None
    assert second.result is None
    assert hand.kv.value("n", "k") == "2"


def test_a_deleted_value_is_gone() -> None:
    hand = KvInHand()
    hand.stored("n", "k", "v")
    asked = hand.delete("n", "k")
    hand.kv.write()
    assert asked.result is None
    with pytest.raises(QueryNotFound, match=r"^No config item, Namespace: n Key: k$"):
        hand.kv.value("n", "k")


def test_deleting_what_is_not_there_succeeds() -> None:
    hand = KvInHand()
    asked = hand.delete("n", "k")
    hand.kv.write()
    assert asked.result is None


def test_a_table_is_a_namespaces_content_at_that_time() -> None:
    hand = KvInHand()
    assert hand.kv.table("n") is None
    hand.stored("n", "k", "v")
    table = hand.kv.table("n")
    hand.stored("n", "l", "w")
    assert table == {"k": "v"}
    assert hand.kv.table("n") == {"k": "v", "l": "w"}


@pytest.mark.parametrize(("namespace", "key"), [("", "k"), ("n", "")])
def test_an_empty_name_is_refused(namespace: str, key: str) -> None:
    hand = KvInHand()
    with pytest.raises(RequestFailed, match=r"^namespace or key is null$"):
        hand.put(namespace, key, "v").result  # noqa: B018


@pytest.mark.parametrize(
    ("namespace", "key", "value"),
    [
        ("n" * (NAME_LENGTH_MAX + 1), "k", "v"),
        ("n", "k" * (NAME_LENGTH_MAX + 1), "v"),
        ("n", "k", "é" * 6),
    ],
)
def test_a_text_over_its_bound_is_refused(namespace: str, key: str, value: str) -> None:
    hand = KvInHand(kv_value_size_max=11)
    with pytest.raises(InvalidParameter):
        hand.put(namespace, key, value).result  # noqa: B018
    assert hand.kv.table("n") is None


def test_entries_are_counted_over_all_namespaces() -> None:
    hand = KvInHand(kv_entry_count_max=2)
    hand.stored("n", "k", "v")
    hand.stored("m", "k", "v")
    with pytest.raises(RequestFailed, match="2 entries are kept"):
        hand.put("m", "l", "v").result  # noqa: B018
    hand.stored("m", "k", "changed")
    assert hand.kv.value("m", "k") == "changed"


def test_who_still_waits_at_the_end_is_refused() -> None:
    hand = KvInHand()
    asked = hand.put("n", "k", "v")
    hand.kv.fail_all(ServiceUnavailable("the name server stops"))
    with pytest.raises(ServiceUnavailable):
        asked.result  # noqa: B018


def test_a_journal_that_cannot_write_refuses_instead_of_promising() -> None:
    hand = KvInHand()
    asked = hand.put("n", "k", "v")
    hand.metadata._journal.fail_next_write("disk is gone")  # type: ignore[attr-defined]
    hand.kv.write()
    with pytest.raises(ServiceUnavailable, match="disk is gone"):
        asked.result  # noqa: B018
    with pytest.raises(ServiceUnavailable, match="disk is gone"):
        hand.put("n", "k", "v").result  # noqa: B018
