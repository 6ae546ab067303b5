"""Texts that several verbs answer with. Clients and tools of RocketMQ show them to people."""

from __future__ import annotations

from typing import Final

FAQ: Final = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."

SHOWN_LENGTH_MAX: Final = 128
"""Characters of a client's value that a remark repeats: remarks travel in a bounded header."""


def shown(value: str) -> str:
    """A client's text as it may appear in a remark."""
    if len(value) <= SHOWN_LENGTH_MAX:
        return value
    return f"{value[:SHOWN_LENGTH_MAX]}… ({len(value)} characters)"


__all__ = ["FAQ", "SHOWN_LENGTH_MAX", "shown"]
