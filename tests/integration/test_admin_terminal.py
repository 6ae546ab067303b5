"""`pyromq admin` on a real terminal: drawn tables, a question before something goes, a screen."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.support.admin_command import AdminCommand
from tests.support.processes import child_environment
from tests.support.pyromq_server import PyromqServer

WAIT_SECONDS = 30.0
PROGRAM = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from pyromq.app.main import main; sys.exit(main(['admin', *sys.argv[1:]]))"
)
"""The command as a shell in the foreground starts it: one in the background has it ignore Ctrl-C,
and the tests may run there."""


class TerminalRun:
    """One command on a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self._terminal, inner = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env=child_environment(TERM="xterm", COLUMNS="140", LINES="40"),
            start_new_session=True,
        )
        os.close(inner)
        self.text = ""
        self._unseen = ""

    def read_until(self, text: str) -> str:
        """What came up to and with this text, since the last call."""
        deadline = time.monotonic() + WAIT_SECONDS
        while text not in self._unseen:
            left = deadline - time.monotonic()
            assert left > 0, f"no {text!r} in time: {self.text[-2000:]!r}"
            assert self._read(left), f"ended without {text!r}: {self.text[-2000:]!r}"
        found, _, self._unseen = self._unseen.partition(text)
        return found + text

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Reads the rest; returns the exit code."""
        while self._read(WAIT_SECONDS):
            pass
        os.close(self._terminal)
        return self._process.wait(WAIT_SECONDS)

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._terminal], [], [], seconds)
        data = b""
        # A terminal whose other side is closed cannot be read from.
        with contextlib.suppress(OSError):
            data = os.read(self._terminal, 65_536) if ready else b""
        self.text += (got := data.decode("utf-8", "replace"))
        self._unseen += got
        return bool(data)


@pytest.fixture(scope="module")
def namesrv() -> Iterator[str]:
    with PyromqServer.ephemeral() as server:
        yield server.namesrv


def test_tables_are_drawn_on_a_terminal(namesrv: str) -> None:
    run = TerminalRun("topicList", "-n", namesrv)
    assert run.end() == 0
    assert "┃" in run.text
    assert "BenchmarkTest" in run.text


@pytest.mark.parametrize(("answer", "is_there"), [("n\n", True), ("y\n", False)])
def test_a_topic_goes_only_if_the_question_is_answered_with_yes(
    namesrv: str, answer: str, is_there: bool
) -> None:
    admin = AdminCommand(namesrv)
    admin.ask("updateTopic", "-c", "DefaultCluster", "-t", "goods")
    admin.until("topicRoute", "-t", "goods", holds=lambda rows: rows)
    run = TerminalRun("deleteTopic", "-t", "goods", "-c", "DefaultCluster", "-n", namesrv)
    assert "will delete topic goods and its messages on" in run.read_until("go on? [y/N] ")
    run.type(answer)
    assert run.end() == (1 if is_there else 0)
    assert ({"topic": "goods"} in admin.ask("topicList")) is is_there


def test_top_is_drawn_again_and_gives_the_screen_back(namesrv: str) -> None:
    run = TerminalRun("top", "-i", "1", "-n", namesrv)
    run.read_until("\x1b[?1049h")
    for _ in range(2):
        assert "broker-a" in run.read_until("groups")
    run.interrupt()
    assert run.end() == 130
    assert run.text.endswith("\x1b[?1049l")
    assert "Traceback" not in run.text
