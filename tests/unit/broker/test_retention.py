"""Old log files by the clock, and messages refused on a full disk: over the twin engine."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from pyromq.api import PullStatus
from pyromq.broker.admin import DiskSpace
from pyromq.broker.disk_guard import LOOK_INTERVAL_MS
from pyromq.broker.retention import FIRST_ROUND_MS
from pyromq.errors import ServiceUnavailable
from pyromq.units import GIB, HOUR_MS, MIB, QueueOffset
from tests.support.brokers import BrokerInHand, caller, properties, send_request

SEGMENT_SIZE = 64 << 10
ROUND_MS = 10_000
PAUSE_MS = 100
BODY = bytes(1_000)


class Volume:
    """The disk as the broker is told of it."""

    def __init__(self, total: int = 100 * GIB, free: int = 50 * GIB) -> None:
        self.space: DiskSpace | None = DiskSpace(total, free)

    def use(self, percent: int) -> None:
        self.space = DiskSpace(100 * GIB, (100 - percent) * GIB)


def hand_with(volume: Volume, **store: Any) -> BrokerInHand:
    hand = BrokerInHand(
        store={"mapped_file_size_commit_log_bytes": SEGMENT_SIZE, **store},
        disk_space_of=lambda _root: volume.space,
    )
    hand.create_topic("TopicTest")
    return hand


def fill(hand: BrokerInHand, segments: int) -> int:
    """Messages until the log is so many segments longer; returns how many there are in all."""
    end = hand.engine.positions().written + segments * SEGMENT_SIZE
    while hand.engine.positions().written < end:
        result = hand.send(body=BODY)
    return result.queue_offset + 1


def segments_gone(hand: BrokerInHand) -> int:
    return hand.engine.log_min() // SEGMENT_SIZE


def to_hour(hand: BrokerInHand, hour: int) -> None:
    """Advances the clock, and nothing else, to the beginning of that hour."""
    zone = datetime.now().astimezone().tzinfo
    while datetime.fromtimestamp(hand.clock.now_ms() / 1000, zone).hour != hour:
        hand.clock.advance(HOUR_MS // 2)


def run_round(hand: BrokerInHand, files_max: int = 12) -> None:
    """One round to its end."""
    hand.advance(ROUND_MS)
    for _ in range(files_max):
        hand.advance(PAUSE_MS)


def test_at_its_hour_old_files_go_one_after_another() -> None:
    hand = hand_with(Volume())
    count = fill(hand, 5)
    hand.advance(73 * HOUR_MS)
    to_hour(hand, 4)
    assert segments_gone(hand) == 0
    gone = []
    for _ in range(6):
        hand.advance(PAUSE_MS)
        gone.append(segments_gone(hand))
    assert gone == [1, 2, 3, 4, 5, 5]  # the one being written stays
    info = hand.broker.runtime_info()
    assert info["commitLogMinOffset"] == str(5 * SEGMENT_SIZE)
    assert int(info["earliestMessageTimeStamp"]) > 0
    first = hand.broker.min_offset("TopicTest", 0)
    assert 0 < first < count


def test_files_that_are_not_old_stay_at_any_hour() -> None:
    hand = hand_with(Volume())
    fill(hand, 3)
    to_hour(hand, 4)
    run_round(hand)
    assert segments_gone(hand) == 0


def test_old_files_stay_until_their_hour_comes() -> None:
    hand = hand_with(Volume())
    fill(hand, 3)
    hand.advance(73 * HOUR_MS)
    to_hour(hand, 5)
    run_round(hand)
    assert segments_gone(hand) == 0
    to_hour(hand, 4)
    run_round(hand)
    assert segments_gone(hand) == 3


def test_a_disk_three_quarters_full_makes_old_files_go_at_any_hour() -> None:
    volume = Volume()
    hand = hand_with(volume)
    fill(hand, 2)
    hand.advance(73 * HOUR_MS)
    to_hour(hand, 12)
    fill(hand, 2)
    volume.use(76)
    run_round(hand)
    assert segments_gone(hand) == 2  # the young ones stay


def test_a_disk_nearly_full_takes_young_files_too_ten_in_a_round() -> None:
    volume = Volume()
    hand = hand_with(volume)
    fill(hand, 14)
    to_hour(hand, 12)
    volume.use(86)
    hand.advance(FIRST_ROUND_MS)
    for _ in range(20):
        hand.advance(PAUSE_MS)
    assert segments_gone(hand) == 10
    run_round(hand)
    assert segments_gone(hand) == 14


def test_young_files_stay_if_forcible_cleaning_is_switched_off() -> None:
    volume = Volume()
    hand = hand_with(volume, clean_file_forcibly_enable=False)
    fill(hand, 3)
    to_hour(hand, 12)
    volume.use(95)
    run_round(hand)
    assert segments_gone(hand) == 0


def test_a_request_makes_old_files_go_at_once() -> None:
    hand = hand_with(Volume())
    fill(hand, 2)
    hand.advance(73 * HOUR_MS)
    to_hour(hand, 12)
    fill(hand, 1)
    run_round(hand)
    assert segments_gone(hand) == 0
    hand.broker.remove_expired_files()
    for _ in range(4):
        hand.advance(PAUSE_MS)
    assert segments_gone(hand) == 2


def test_a_consumer_behind_the_new_beginning_is_told_where_it_is() -> None:
    volume = Volume()
    hand = hand_with(volume)
    count = fill(hand, 3)
    volume.use(86)
    to_hour(hand, 12)
    run_round(hand)
    pulled = hand.pull(queue_offset=QueueOffset(1))
    assert pulled.status is PullStatus.OFFSET_MOVED
    assert 0 < pulled.next_begin_offset == pulled.min_offset < pulled.max_offset == count
    assert hand.pull(queue_offset=pulled.next_begin_offset).status is PullStatus.FOUND


# --- a full disk ---------------------------------------------------------------------------------


def refused(hand: BrokerInHand, **changed: Any) -> str:
    with pytest.raises(ServiceUnavailable) as caught:
        hand.send(**changed)
    return str(caught.value)


def test_messages_are_refused_below_the_reserve_and_taken_again_above_it() -> None:
    volume = Volume(total=1000 * GIB, free=2 * GIB)
    hand = hand_with(volume)
    hand.send()
    volume.space = DiskSpace(1000 * GIB, GIB)  # nothing above the reserve
    hand.advance(LOOK_INTERVAL_MS)
    remark = refused(hand)
    assert f"has {GIB} of {1000 * GIB} bytes free" in remark
    assert f"{GIB} are kept free (diskReserveBytes)" in remark
    assert "diskReserveBytes" in refused(hand, properties=properties(UNIQ_KEY="A", DELAY="1"))
    assert hand.pull().status is PullStatus.FOUND
    volume.space = DiskSpace(1000 * GIB, GIB + MIB)
    hand.advance(LOOK_INTERVAL_MS)
    assert hand.send().queue_offset == 1


def test_what_comes_between_two_looks_does_not_reach_into_the_reserve() -> None:
    volume = Volume(total=1000 * GIB, free=GIB + 3_000)
    hand = hand_with(volume)
    hand.advance(LOOK_INTERVAL_MS)
    hand.send(body=BODY)
    hand.send(body=BODY)
    assert "the rest was used since the last look" in refused(hand, body=BODY)
    hand.advance(LOOK_INTERVAL_MS)
    hand.send(body=BODY)


def test_a_large_disk_is_not_refused_for_being_92_percent_full() -> None:
    volume = Volume()
    hand = hand_with(volume, mapped_file_size_commit_log_bytes=GIB)
    volume.use(92)
    hand.advance(LOOK_INTERVAL_MS)
    hand.send()
    volume.use(99)
    hand.advance(LOOK_INTERVAL_MS)
    refused(hand)


def test_a_delayed_message_waits_for_space() -> None:
    volume = Volume(total=1000 * GIB)
    hand = hand_with(volume)
    hand.send(properties=properties(UNIQ_KEY="A", DELAY="1"))
    volume.space = DiskSpace(1000 * GIB, 0)
    hand.advance(LOOK_INTERVAL_MS)
    for _ in range(5):
        hand.advance(1_000)
    assert hand.broker.max_offset("TopicTest", 0) == 0
    volume.space = DiskSpace(1000 * GIB, 2 * GIB)
    for _ in range(2):
        hand.advance(1_000)
    assert hand.broker.max_offset("TopicTest", 0) == 1


def test_a_write_that_failed_has_the_disk_looked_at_at_once() -> None:
    volume = Volume(total=1000 * GIB)
    hand = hand_with(volume)
    volume.space = DiskSpace(1000 * GIB, 0)
    hand.engine.fail_next_write("No space left on device", is_final=False)
    asked = hand.ask(hand.broker.send(caller(), send_request()))
    hand.end_turn()
    assert isinstance(asked.error, ServiceUnavailable)
    assert "diskReserveBytes" in refused(hand)


def test_without_a_reserve_nothing_is_refused() -> None:
    volume = Volume(total=1000 * GIB, free=0)
    hand = hand_with(volume, disk_reserve_bytes=0)
    hand.advance(LOOK_INTERVAL_MS)
    hand.send()


def test_a_shorter_interval_does_not_wait_for_the_end_of_a_longer_one() -> None:
    hand = hand_with(Volume(), clean_resource_interval_ms=HOUR_MS, file_reserved_time_hours=0)
    fill(hand, 3)
    to_hour(hand, 6)  # the first look is done
    hand.advance(1)
    assert segments_gone(hand) == 0
    update = hand.ask(
        hand.broker.update_configuration(
            {"cleanResourceInterval": "1000", "deleteWhen": "00;01;02;03;04;05;06;07"}
        )
    )
    assert update.error is None
    hand.advance(1_000)
    for _ in range(4):
        hand.advance(PAUSE_MS)
    assert segments_gone(hand) == 3
