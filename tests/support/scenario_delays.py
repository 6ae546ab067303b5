"""What scenario texts say of delay levels.

delays        1: 2 of 3, 1 safe   of level 1's three messages two are delivered, one of them safely
fail-write    the next write of the log fails, and the turn with it
"""

from __future__ import annotations

from tests.support.brokers import BrokerInHand

Words = dict[str, str]


class DelayVerbs:
    """A part of `Stage`."""

    hand: BrokerInHand

    def do_delays(self, words: Words) -> str:
        del words
        safe = self.hand.metadata.tables.delay_offsets
        prefix = "scheduleMessageOffset_"
        told = {
            int(key.removeprefix(prefix)): value.split(",")
            for key, value in self.hand.broker.runtime_info().items()
            if key.startswith(prefix)
        }
        lines = [
            f"{level}: {delivered} of {end}, {safe.get(level, 0)} safe"
            for level, (delivered, end) in told.items()
        ]
        return "; ".join(lines) or "none"

    def do_fail_write(self, words: Words) -> None:
        del words
        self.hand.engine.fail_next_write("no space", is_final=False)
