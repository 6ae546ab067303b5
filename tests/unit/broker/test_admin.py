"""Runtime info: every key has the form that tools parse."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from pyromq.broker.admin import DiskSpace, RuntimeInfo
from pyromq.config import Settings, StoreConfig
from pyromq.store.engine import Damage
from pyromq.units import LogOffset
from tests.support.brokers import BrokerInHand, caller, properties, send_request
from tests.support.clock import START_MS

NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?\Z")
APACHES_KEYS = set(
    """
    EndTransactionQueueSize EndTransactionThreadPoolQueueCapacity ackThreadPoolQueueCapacity
    ackThreadPoolQueueHeadWaitTimeMills ackThreadPoolQueueSize bootTimestamp brokerActive
    brokerVersionDesc commitLogDiskRatio commitLogMaxOffset commitLogMinOffset
    consumeQueueDiskRatio dispatchBehindBytes dispatchMaxBuffer earliestMessageTimeStamp getFoundTps
    getMessageEntireTimeMax getMissTps getTotalTps getTransferredTps litePullThreadPoolQueueCapacity
    litePullThreadPoolQueueHeadWaitTimeMills litePullThreadPoolQueueSize msgGetTotalTodayMorning
    msgGetTotalTodayNow msgGetTotalYesterdayMorning msgPutTotalTodayMorning msgPutTotalTodayNow
    msgPutTotalYesterdayMorning pageCacheLockTimeMills pullThreadPoolQueueCapacity
    pullThreadPoolQueueHeadWaitTimeMills pullThreadPoolQueueSize putLatency99 putLatency999
    putMessageAverageSize putMessageDistributeTime putMessageEntireTimeMax putMessageFailedTimes
    putMessageSizeTotal putMessageTimesTotal putTps queryThreadPoolQueueCapacity
    queryThreadPoolQueueHeadWaitTimeMills queryThreadPoolQueueSize remainHowManyDataToFlush
    remainTransientStoreBufferNumbs runtime sendThreadPoolQueueCapacity
    sendThreadPoolQueueHeadWaitTimeMills sendThreadPoolQueueSize startAcceptSendRequestTimeStamp
    timerCongestNum timerDequeueTps timerEnqueueTps timerOffsetBehind timerReadBehind
    """.split()  # noqa: SIM905 — a list of sixty lines says no more
)
TEXTS = {
    "brokerActive",
    "brokerVersionDesc",
    "putMessageDistributeTime",
    "remainHowManyDataToFlush",
    "runtime",
}


@pytest.fixture
def hand() -> BrokerInHand:
    return BrokerInHand()


def test_every_key_of_apache_is_there(hand: BrokerInHand) -> None:
    assert set(hand.broker.runtime_info()) >= APACHES_KEYS


def test_every_other_value_is_a_number_or_numbers(hand: BrokerInHand) -> None:
    hand.send()
    for key, value in hand.broker.runtime_info().items():
        if key not in TEXTS:
            for word in value.split():
                assert NUMBER.match(word), (key, value)


def test_an_idle_broker_divides_by_nothing(hand: BrokerInHand) -> None:
    info = hand.broker.runtime_info()
    assert info["putMessageTimesTotal"] == "1"
    assert info["msgPutTotalTodayNow"] == "0"
    assert info["putMessageAverageSize"] == "0.0"
    assert info["earliestMessageTimeStamp"] == "-1"
    assert info["putTps"] == "0.000000 0.000000 0.000000"


def test_messages_are_counted(hand: BrokerInHand) -> None:
    for _ in range(10):
        hand.send()
    hand.pull()
    hand.pull(queue_offset=10)
    info = hand.broker.runtime_info()
    assert info["putMessageTimesTotal"] == "10"
    assert info["msgPutTotalTodayNow"] == "10"
    assert info["msgGetTotalTodayNow"] == "10"
    assert float(info["putMessageAverageSize"]) == int(info["putMessageSizeTotal"]) / 10
    assert info["commitLogMaxOffset"] == info["putMessageSizeTotal"]
    assert info["putMessageDistributeTime"].startswith("[<=0ms]:10 [0~10ms]:0 [10~50ms]:0 ")
    assert info["putMessageDistributeTime"].endswith("[10s~]:0 ")


def test_rates_are_three_numbers_per_second(hand: BrokerInHand) -> None:
    for _ in range(10):
        hand.send()
        hand.advance(1_000)
    short, middle, long = map(float, hand.broker.runtime_info()["putTps"].split())
    assert short == middle == long == pytest.approx(1.0)
    for _ in range(10):
        hand.advance(1_000)
    short, middle, _ = map(float, hand.broker.runtime_info()["putTps"].split())
    assert short == 0
    assert middle == pytest.approx(0.5)


def test_the_time_since_the_start_is_told_in_words(hand: BrokerInHand) -> None:
    hand.clock.advance(((1 * 24 + 2) * 60 + 3) * 60_000 + 4_567)
    info = hand.broker.runtime_info()
    assert info["runtime"] == "[ 1 days, 2 hours, 3 minutes, 4 seconds ]"
    assert info["bootTimestamp"] == str(START_MS)


def test_the_earliest_message_is_that_of_the_log(hand: BrokerInHand) -> None:
    hand.advance(777)
    hand.send()
    hand.advance(1_000)
    hand.send()
    assert hand.broker.runtime_info()["earliestMessageTimeStamp"] == str(START_MS + 777)


def test_what_waits_for_the_disk_is_told() -> None:
    hand = BrokerInHand(sync_flush=True)
    hand.create_topic("TopicTest")
    large = send_request(body=bytes(3_000), properties=properties(UNIQ_KEY="ID1"))
    hand.ask(hand.broker.send(caller(), large))
    hand.end_turn()
    info = hand.broker.runtime_info()
    assert info["remainHowManyDataToFlush"] == "3.1 KiB"
    assert int(info["dispatchBehindBytes"]) > 3_000
    hand.flush()
    assert hand.broker.runtime_info()["remainHowManyDataToFlush"] == "0 B"


def test_the_disk_is_told_as_ratio_and_in_words(hand: BrokerInHand) -> None:
    info = RuntimeInfo(
        hand.engine,
        hand.settings,
        Settings(StoreConfig(store_path_root_dir="/data/store")),
        hand.clock,
        hand.broker.counters,
        lambda _root: DiskSpace(total=252 << 30, free=int(229.5 * (1 << 30))),
        dict,
    ).table()
    assert info["commitLogDirCapacity"] == "Total : 252.0 GiB, Free : 229.5 GiB."
    assert info["commitLogDiskRatio"] == "0.09"  # 22.5 of 252, rounded up as Apache's
    assert info["commitLogDiskRatio_/data/store/commitlog"] == info["commitLogDiskRatio"]
    assert info["consumeQueueDiskRatio"] == info["commitLogDiskRatio"]


def test_what_a_file_system_keeps_for_itself_is_neither_used_nor_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 270 bytes, of which 173 are nobody's: so 20 of 97 are used, as Apache counts.
    monkeypatch.setattr(
        "pyromq.broker.broker.disk_usage",
        lambda _root: SimpleNamespace(total=270, used=20, free=77),
    )
    hand = BrokerInHand(store={"store_path_root_dir": str(tmp_path)})
    info = hand.broker.runtime_info()
    assert info["commitLogDiskRatio"] == "0.21"
    assert info["commitLogDirCapacity"] == "Total : 97 B, Free : 77 B."


def test_a_real_directory_is_on_a_real_disk(tmp_path: Path) -> None:
    hand = BrokerInHand(store={"store_path_root_dir": str(tmp_path)})
    assert 0 < float(hand.broker.runtime_info()["commitLogDiskRatio"]) < 1


def test_the_runtime_info_counts_damage(
    hand: BrokerInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hand.broker.runtime_info()["storeCorruptRecords"] == "0"
    hole = (LogOffset(200), LogOffset(350))
    monkeypatch.setattr(hand.engine, "damage", lambda: Damage(3, [hole]))
    assert hand.broker.runtime_info()["storeCorruptRecords"] == "3"
