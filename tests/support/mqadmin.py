"""Apache's mqadmin against one server, and its printed text in a form that two runs share.

What differs from run to run is masked: addresses, message and client ids, times, versions, rates.
Columns and rows stay, so the text printed about our server is compared with the one printed about
Apache's line by line. mqadmin tells of failures only by a stack trace on stderr; here they are
lines that begin with "! ".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.support.foreign import ForeignFailed, JavaSession
from tests.support.peers import Peer
from tests.support.processes import retries

WAIT_SECONDS = 20.0
FAILURE = "! "

_MASKS = tuple(
    (re.compile(pattern), mask)
    for pattern, mask in (
        (r"\b[\d.]+@\w+-\d+\b", "CLIENT"),
        (r"\b(push|pull|producer|admin)-\d{6,}\b", r"\1-N"),
        (r"\b[0-9A-F]{32,}\b", "ID"),
        (r"\b(\d{1,3}\.){3}\d{1,3}:\d+\b", "ADDRESS"),
        (r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(,\d{3})?", "TIME"),
        (r"\b20\d{12}(\d{3})?\b", "TIME"),
        (r"\b\d{13}\b", "MILLIS"),
        (r"\bV\d+_\d+_\d+\b", "VERSION"),
        (r"(?<![\d.])\d+\.\d+(?![\d.])", "N.N"),
        (r"\b(spentTimeMills|rt)=\d+", r"\1=N"),
        (r"\b(CLUSTERING|BROADCASTING)\s+\d+", r"\1  N"),
        (r"\b\d+ms\b", "Nms"),
        (r"\$\$Lambda\S*|@[0-9a-f]{5,8}\b", "@OBJECT"),
        (r"(?<=Message Body Path:)\s+\S+", " PATH"),
        (r"(?i)\b(commitlog ?offset\W+|physicOffset=|ID@)\d+", r"\1N"),
        (r"\s{2,}", "  "),
    )
)
_ANY_ORDER = re.compile(r"(?<=not in set: \[)[^]]*")
_LOG_LINE = re.compile(r"\d\d:\d\d:\d\d\.\d{3} [A-Z]+ ")
_CAUSE = re.compile(r"\S+(?:Exception|Error)\b(?:: *(?P<text>.*))?")


@dataclass(frozen=True)
class Said:
    """What one command printed to stdout and stderr."""

    text: str
    errors: str

    @property
    def rows(self) -> list[list[str]]:
        """The words of each line that has any."""
        return [line.split() for line in self.text.splitlines() if line.strip()]

    @property
    def failures(self) -> list[str]:
        """The innermost cause of each stack trace, such as "CODE: 26 DESC: Group g not exist!".

        What the client's own threads log, when a shutdown takes their connection away, is none.
        """
        causes: list[str] = []
        is_logged = False
        before = ""
        for line in self.errors.splitlines():
            found = _CAUSE.match(line.removeprefix("Caused by: "))
            if found is not None:
                if line.startswith("Caused by: "):
                    if causes and not is_logged:
                        causes.pop()
                else:
                    is_logged = _LOG_LINE.match(before) is not None
                if not is_logged:
                    causes.append(" ".join((found["text"] or line).split()))
            before = line
        return causes

    def only(self, *words: str) -> Said:
        """The heading and the lines with one of these words."""
        lines = self.text.splitlines()
        kept = [line for line in lines if line.startswith("#") or set(words) & set(line.split())]
        return Said("\n".join(kept), self.errors)

    def without(self, word: str) -> Said:
        """The lines that do not have this word."""
        kept = [line for line in self.text.splitlines() if word not in line.split()]
        return Said("\n".join(kept), self.errors)

    def masked(self) -> list[str]:
        """The lines that are the same in every run; empty ones left out."""
        lines = [masked(line) for line in self.text.splitlines()]
        return [*(line for line in lines if line), *(FAILURE + masked(f) for f in self.failures)]


def masked(line: str) -> str:
    for pattern, mask in _MASKS:
        line = pattern.sub(mask, line)
    line = _ANY_ORDER.sub(lambda found: ", ".join(sorted(found[0].split(", "))), line)
    return line.strip()


class Console:
    """mqadmin, as an administrator of one server uses it."""

    def __init__(self, java: JavaSession, peer: Peer) -> None:
        self._java = java
        self.broker = peer.broker
        self.outcome: dict[str, list[str]] = {}

    def say(self, command: str, *, lines: int = 0) -> Said:
        """`lines`: for a command that never ends, after which it is interrupted."""
        row = self._java.one("mqadmin", "--run", command, "--lines", lines)
        return Said(row["text"], row["errors"])

    def done(self, command: str) -> Said:
        """As `say`, for a command that must not fail."""
        said = self.say(command)
        if said.failures:
            raise ForeignFailed(f"mqadmin {command}: {said.failures}\nprinted:\n{said.text}")
        return said

    def note(self, command: str, said: Said | None = None, *, in_order: bool = True) -> Said:
        """As `say`, and remembers the masked text under the masked command for a comparison.

        `in_order` is False where the server lists things in the order of its own tables.
        """
        said = said or self.say(command)
        lines = said.masked()
        name, count = masked(command), 1
        while name in self.outcome:
            count += 1
            name = f"{masked(command)} ({count})"
        self.outcome[name] = lines if in_order else sorted(lines)
        return said

    def until(self, command: str, *containing: str, timeout_seconds: float = WAIT_SECONDS) -> Said:
        """Repeats a command until its text has each of these: a change has arrived."""
        said = Said("", "")
        for _ in retries(timeout_seconds, pause_seconds=0.1):
            said = self.say(command)
            if not said.failures and all(part in said.text for part in containing):
                return said
        raise ForeignFailed(
            f"mqadmin {command}: no {containing} in time; printed:\n{said.text}\n{said.failures}"
        )

    def forget(self) -> dict[str, list[str]]:
        """What was noted since the last call."""
        outcome, self.outcome = self.outcome, {}
        return outcome
